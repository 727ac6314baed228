//! Prints the page of the rules: `cargo run --release -p lutweave-passes --example rules > docs/rules.md`

fn main() {
    print!("{}", lutweave_passes::rules::page::page());
}

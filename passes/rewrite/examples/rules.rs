//! Prints the page of the rules: `cargo run --release -p lutweave-rewrite --example rules > docs/rules.md`

fn main() {
    print!("{}", lutweave_rewrite::rules::page::page());
}

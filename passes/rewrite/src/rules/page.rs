//! The page of the documentation that lists the rules.

use super::{float_rules, integer_rules, rule_table, site_rules};
use crate::egraph::{FUEL, RuleClass, RuleSpec};
use std::fmt::Write;

const HEAD: &str = "# Rewrite rules

This page is generated: `cargo run --release -p lutweave-rewrite --example rules > docs/rules.md`.

**Rules never change the function; knobs do, and each knob has a measured price.**

A rule says that two expressions are equal, for all inputs and for every setting of the knobs. The compiler collects equal expressions in an e-graph and takes the cheapest graph out of it, so that the order of rules does not matter and a value with several users needs no special case. What loses accuracy (rounding weights, pruning them, choosing ranges) is no rule: it happens at *sites*, whose settings rules cannot see.

| class | equal | tested |
|---|---|---|
| Z | bit for bit, on integers and floats | on random graphs, exactly |
| R | over the reals; floats differ by rounding | on random graphs, up to rounding |

Every rule is tested in four ways: on random graphs every expression of a class has the class's value, with random settings of all sites; some graph makes it fire; without any one of its guards some graph goes wrong; and random choices among equal expressions compute the same. *Generative* rules make expressions that are not cheaper in themselves; they run in bursts, each with fuel for ";

/// Whether a section lists a rule.
type Contains<'r> = &'r dyn Fn(&RuleSpec) -> bool;

/// The page as Markdown.
pub fn page() -> String {
    let mut page = format!("{HEAD}{FUEL} new expressions a class, between saturations with the others.\n\n");
    let directed = rule_table().iter().filter(|rule| !rule.generative).count();
    writeln!(page, "{} rules: {directed} directed, {} generative.", rule_table().len(), rule_table().len() - directed)
        .expect("invariant: text can be written");
    let [float, integer, sites] = [float_rules(), integer_rules(), site_rules()];
    let holds = |rules: &[RuleSpec], rule: &RuleSpec| rules.iter().any(|other| other.name == rule.name);
    let sections: [(&str, Contains); 4] = [
        ("Before quantization", &|rule| holds(&float, rule) && !holds(&integer, rule)),
        ("Before and after quantization", &|rule| holds(&float, rule) && holds(&integer, rule)),
        ("After quantization", &|rule| !holds(&float, rule) && holds(&integer, rule)),
        ("Around sites", &|rule| !holds(&float, rule) && !holds(&integer, rule) && holds(&sites, rule)),
    ];
    for (title, contains) in sections {
        write!(page, "\n## {title}\n\n| rule | class | from | to | if | why |\n|---|---|---|---|---|---|\n")
            .expect("invariant: text can be written");
        rule_table().iter().filter(|rule| contains(rule)).for_each(|rule| page.push_str(&row(rule)));
    }
    page
}

fn row(rule: &RuleSpec) -> String {
    let class = match rule.class {
        RuleClass::Real => "R",
        RuleClass::Integer => "Z",
    };
    let growth = if rule.generative { ", generative" } else { "" };
    let guards: Vec<&str> = rule.guards.iter().map(|guard| guard.name).collect();
    let code = |text: &str| format!("`{}`", text.replace('|', "\\|"));
    format!(
        "| {} | {class}{growth} | {} | {} | {} | {} |\n",
        rule.name,
        code(rule.lhs),
        code(rule.rhs),
        guards.join("; "),
        rule.why
    )
}

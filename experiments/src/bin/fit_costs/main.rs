//! What logic takes in each family, fitted to synthesis.
//!
//! usage: fit_costs [--family NAME]... [--modules N] [--data DIR]
//!
//! Single modules of random circuits are synthesised by Yosys, `N` for each family, and kept as one JSON object per
//! line in `DIR/FAMILY.jsonl`; what is there already is not made again.

mod fitting;
mod sampling;

use lutweave_experiments::Fallible;
use lutweave_hw::family::families;
use std::path::{Path, PathBuf};

fn main() -> Fallible<()> {
    let (mut names, mut modules, mut data) = (Vec::new(), 300, PathBuf::from("target/costs"));
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        let mut value = || given.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--family" => names.push(value()?),
            "--modules" => modules = value()?.parse()?,
            "--data" => data = value()?.into(),
            other => {
                return Err(format!("{other}: usage: fit_costs [--family NAME]... [--modules N] [--data DIR]").into());
            }
        }
    }
    std::fs::create_dir_all(&data)?;
    let cores = sampling::cores()?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hw/families");
    for family in families().iter().filter(|family| names.is_empty() || names.contains(&family.name)) {
        let samples = sampling::samples(family, &cores, modules, &data.join(format!("{}.jsonl", family.name)))?;
        fitting::fit(family, &samples, &folder)?;
    }
    Ok(())
}

//! Every file of `snapshots/filetests`.

use lutweave_snapshots::cases::all_pass;
use lutweave_snapshots::filetest::{Bench, FileTest, run};
use lutweave_testing::tools;
use lutweave_verilog::Simulator;
use std::path::{Path, PathBuf};

#[test]
fn files_say_what_is_true() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("filetests");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "graph"))
        .collect();
    files.sort();
    assert!(files.len() >= 40, "{} files", files.len());
    let simulators = [(Simulator::Icarus, tools::icarus()), (Simulator::Verilator, tools::verilator())];
    let simulators = simulators.into_iter().filter(|(_, installed)| *installed).map(|(simulator, _)| simulator);
    let bless = std::env::var("LUTWEAVE_BLESS").is_ok_and(|value| value == "1");
    let bench = Bench { simulators: simulators.collect(), bless };
    let check = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let attempt = || run(&FileTest::parse(&text)?, &bench);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt));
        if let Some(new) = result.unwrap_or_else(|_| Err("panic".to_owned()))? {
            std::fs::write(path, new).map_err(|error| error.to_string())?;
        }
        Ok(())
    };
    all_pass(files, check, |path| path.display().to_string());
}

//! What the tests of this crate share: linting with every tool that is installed, and the
//! simulators.
#![allow(dead_code, reason = "each test file uses a part")]

use lutweave_hw::rtl::harness::{Stimulus, Trace};
use lutweave_hw::rtl::{Channel, Design, Endpoint, Module, ModuleId, TopPort};
use lutweave_hw::supply::MemoryTiming;
use lutweave_testing::tools;
use lutweave_verilog::{Build, Simulator, emit, emit_testbench};
use std::path::Path;
use std::process::Command;

/// A design of one module; `beats` of a frame for each input, then for each output.
pub fn alone(module: Module, beats: &[u64]) -> Design {
    let mut design = Design { name: format!("{}_top", module.name), ..Design::default() };
    for (port, (input, beats)) in module.inputs.iter().zip(beats).enumerate() {
        let ty = module.signal(input.data).ty;
        design.inputs.push(TopPort { name: input.name.clone(), ty, beats: *beats });
        let (from, to) = (Endpoint::Top(port as u32), Endpoint::Port(ModuleId(0), port as u32));
        design.channels.push(Channel { name: format!("{}_channel", input.name), ty, from, to });
    }
    for (port, (output, beats)) in module.outputs.iter().zip(&beats[module.inputs.len()..]).enumerate() {
        let ty = module.signal(output.data).ty;
        design.outputs.push(TopPort { name: output.name.clone(), ty, beats: *beats });
        let (from, to) = (Endpoint::Port(ModuleId(0), port as u32), Endpoint::Top(port as u32));
        design.channels.push(Channel { name: format!("{}_channel", output.name), ty, from, to });
    }
    design.modules.push(module);
    design
}

/// Requires that no tool has anything to say about a design and its test bench.
pub fn lint(design: &Design, stimulus: &Stimulus, trace: &Trace) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let artefacts = emit(design);
    let bench = emit_testbench(design, stimulus, Some(trace), &MemoryTiming::default());
    let mut sources = Vec::new();
    for (name, text) in artefacts.files.iter().chain(&bench) {
        assert!(text.ends_with('\n'), "{name} lacks a final newline");
        std::fs::write(folder.path().join(name), text).expect("a written file");
        if name.ends_with(".v") {
            sources.push(name.clone());
        }
    }
    let rtl: Vec<String> = sources.iter().filter(|name| !name.contains("_tb")).cloned().collect();
    let core = format!("{}_tb_core", artefacts.top);
    if tools::verilator() {
        let check = |top: &str, sources: &[String]| {
            let arguments = ["--lint-only", "-Wall", "--top-module", top].map(str::to_owned);
            silent(folder.path(), "verilator", &[&arguments[..], sources].concat(), design);
        };
        check(&artefacts.top, &rtl);
        let with_core: Vec<String> = sources.iter().filter(|name| !name.ends_with("_tb.v")).cloned().collect();
        check(&core, &with_core);
    }
    if tools::icarus() {
        let arguments = ["-g2005", "-Wall", "-o", "simulation.vvp"].map(str::to_owned);
        silent(folder.path(), "iverilog", &[&arguments[..], &sources].concat(), design);
        let run = Command::new("vvp").current_dir(folder.path()).args(["-n", "simulation.vvp"]).output().expect("vvp");
        let text = String::from_utf8_lossy(&run.stdout).into_owned();
        assert!(text.lines().any(|line| line.starts_with("PASS")), "{}: {text}", design.name);
    }
    if tools::yosys() {
        let script = format!(
            "read_verilog -nosynthesis {}; hierarchy -check -top {}; proc; check -assert; select -assert-none t:$dlatch t:$sr",
            rtl.join(" "),
            artefacts.top
        );
        silent(folder.path(), "yosys", &["-q".to_owned(), "-p".to_owned(), script], design);
    }
}

fn silent(folder: &Path, program: &str, arguments: &[String], design: &Design) {
    let output = Command::new(program).current_dir(folder).args(arguments).output().expect("an installed program");
    let text = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat();
    // Yosys names memories that it turns into registers because they have one word; nothing else.
    let complaints: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if !output.status.success() || !complaints.is_empty() {
        let kept = std::env::temp_dir().join(format!("lint_{}", design.name));
        let _ = std::fs::remove_dir_all(&kept);
        std::fs::create_dir_all(&kept).expect("a folder");
        for file in std::fs::read_dir(folder).expect("the folder").flatten() {
            let _ = std::fs::copy(file.path(), kept.join(file.file_name()));
        }
        panic!("{program} on {} (kept in {}):\n{}", design.name, kept.display(), complaints.join("\n"));
    }
}

/// Runs the stimuli in a simulator and returns the traces; `None` if it is not installed.
pub fn traces(design: &Design, simulator: Simulator, stimuli: &[Stimulus]) -> Option<Vec<Trace>> {
    let installed = match simulator {
        Simulator::Icarus => tools::icarus(),
        Simulator::Verilator => tools::verilator(),
    };
    if !installed {
        return None;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let build = Build::new(design, simulator, folder.path()).unwrap_or_else(|error| panic!("{}: {error}", design.name));
    let run = |stimulus| build.run(stimulus).unwrap_or_else(|error| panic!("{}: {error}", design.name)).trace;
    Some(stimuli.iter().map(run).collect())
}

//! Runs the emitted Verilog in a simulator that is installed on the machine.

use crate::memory::parse_word;
use crate::testbench::{emit_testbench, stimulus_files, testbench_names};
use crate::{Artefacts, emit};
use lutweave_hw::rtl::harness::{Stimulus, Trace};
use lutweave_hw::rtl::{Design, TopPort};
use lutweave_hw::supply::MemoryTiming;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

/// A Verilog simulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Simulator {
    /// Verilator: builds for seconds, then runs fast; two-valued.
    Verilator,
    /// Icarus Verilog: builds at once, runs slowly; four-valued, so that it shows the use of
    /// undefined values.
    Icarus,
}

impl Simulator {
    /// The program that builds.
    pub fn program(self) -> &'static str {
        match self {
            Self::Verilator => "verilator",
            Self::Icarus => "iverilog",
        }
    }
}

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// The simulator is not there.
    #[error("{program} is not installed, or not in the search path")]
    Missing {
        /// What was looked for.
        program: &'static str,
    },
    /// Reading or writing a file failed.
    #[error("{path}: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The simulator refused the design.
    #[error("{program} failed; its last lines:\n{output}")]
    Build {
        /// Which.
        program: &'static str,
        /// The end of its output.
        output: String,
    },
    /// The simulation ended without a result.
    #[error("the simulation failed; its last lines:\n{output}")]
    Run {
        /// The end of its output.
        output: String,
    },
    /// No beat moved for longer than the design could need.
    #[error("deadlock: in cycle {cycle} nothing had moved for {patience} cycles")]
    Deadlock {
        /// Cycle of the report.
        cycle: u64,
        /// Cycles without a transfer.
        patience: u64,
    },
    /// An output was undefined (`x`) or not a number.
    #[error("output `{port}`, beat {beat}, is undefined: {text}")]
    Undefined {
        /// Port.
        port: String,
        /// Which beat, counted over frames.
        beat: u64,
        /// What the simulator printed.
        text: String,
    },
    /// `tlast` did not mark the last beat of a frame, or `frame_error` was raised.
    #[error("framing is wrong at `{port}`")]
    Framing {
        /// Port, or `frame_error`.
        port: String,
    },
}

/// Whether a simulator can be used here.
pub fn available(simulator: Simulator) -> bool {
    let flag = match simulator {
        Simulator::Verilator => "--version",
        Simulator::Icarus => "-V",
    };
    let status = Command::new(simulator.program()).arg(flag).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Builds and runs a design once, in a folder that it fills.
pub fn simulate(
    design: &Design,
    stimulus: &Stimulus,
    simulator: Simulator,
    directory: &Path,
) -> Result<Trace, SimulationError> {
    Ok(Build::new(design, simulator, directory)?.run(stimulus)?.trace)
}

/// A design built for a simulator; runs any number of stimuli.
#[derive(Debug)]
pub struct Build {
    design: Design,
    simulator: Simulator,
    directory: PathBuf,
    memories: Vec<String>,
    runs: AtomicU64,
}

/// How a design is built for a simulator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Flags for the C++ compiler that Verilator calls.
    pub flags: String,
    /// How the memory outside answers, if the design has one.
    pub memory: MemoryTiming,
}

impl Default for Options {
    fn default() -> Self {
        Self { flags: "-O2".to_owned(), memory: MemoryTiming::default() }
    }
}

/// The outcome of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// What the design answered.
    pub trace: Trace,
    /// Processor time of the simulation, without the build.
    pub cpu_seconds: f64,
    /// Cycles of the run proper.
    pub cycles: u64,
}

impl Build {
    /// Builds in a folder of its own below `directory`, named after the design and the content
    /// of its files; a finished build of the same content is taken as it is.
    pub fn new(design: &Design, simulator: Simulator, directory: &Path) -> Result<Self, SimulationError> {
        Self::with_options(design, simulator, directory, &Options::default())
    }

    /// As [`Build::new`], with options.
    pub fn with_options(
        design: &Design,
        simulator: Simulator,
        directory: &Path,
        options: &Options,
    ) -> Result<Self, SimulationError> {
        let Options { flags, memory } = options;
        let mut artefacts = emit(design);
        let idle = Stimulus::default();
        let bench = emit_testbench(design, &idle, None, memory);
        // Each run brings its own stimulus.
        let stimuli: Vec<String> = stimulus_files(design, &idle).into_iter().map(|(name, _)| name).collect();
        artefacts.files.extend(bench.into_iter().filter(|(name, _)| !stimuli.contains(name)));
        let memories = artefacts.files.iter().map(|(name, _)| name.clone()).filter(|name| name.ends_with(".hex"));
        let mark: String = flags.chars().filter(char::is_ascii_alphanumeric).collect();
        let folder = format!("{}_{}_{mark}_{:016x}", artefacts.top, simulator.program(), hash(&artefacts));
        let directory = std::path::absolute(directory).map_err(|cause| file_error(directory, cause))?.join(folder);
        let build = Self {
            design: design.clone(),
            simulator,
            directory,
            memories: memories.collect(),
            runs: AtomicU64::new(0),
        };
        if !build.finished().exists() {
            build.prepare(&artefacts, flags)?;
        }
        Ok(build)
    }

    fn finished(&self) -> PathBuf {
        self.directory.join("finished")
    }

    fn executable(&self) -> PathBuf {
        match self.simulator {
            Simulator::Verilator => self.directory.join("objects").join("simulation"),
            Simulator::Icarus => self.directory.join("simulation.vvp"),
        }
    }

    fn prepare(&self, artefacts: &Artefacts, flags: &str) -> Result<(), SimulationError> {
        if !available(self.simulator) {
            return Err(SimulationError::Missing { program: self.simulator.program() });
        }
        std::fs::create_dir_all(&self.directory).map_err(|cause| file_error(&self.directory, cause))?;
        for (name, text) in &artefacts.files {
            write(&self.directory.join(name), text)?;
        }
        let (core, wrapper) = testbench_names(&self.design);
        let sources = artefacts.files.iter().map(|(name, _)| name).filter(|name| name.ends_with(".v"));
        let mut command = Command::new(self.simulator.program());
        command.current_dir(&self.directory);
        match self.simulator {
            Simulator::Verilator => {
                write(&self.directory.join("main.cpp"), &driver(&core))?;
                command.args("--cc --exe --build -j 2 -O3 --x-assign fast --x-initial fast --noassert".split(' '));
                command.args("-Wno-fatal -Wno-lint -Wno-style --timescale 1ns/1ps".split(' '));
                for group in ["OPT_FAST", "OPT_GLOBAL"] {
                    command.args(["-MAKEFLAGS", &format!("{group}='{flags}'")]);
                }
                command.args(["--Mdir", "objects", "-o", "simulation", "--top-module", &core, "main.cpp"]);
                command.args(sources.filter(|name| **name != format!("{wrapper}.v")));
            }
            Simulator::Icarus => {
                command.args(["-g2005", "-o", "simulation.vvp", "-s", &wrapper]).args(sources);
            }
        }
        let output = command.output().map_err(|cause| file_error(&self.directory, cause))?;
        if !output.status.success() {
            return Err(SimulationError::Build { program: self.simulator.program(), output: tail(&output) });
        }
        write(&self.finished(), "")
    }

    /// Runs one stimulus.
    pub fn run(&self, stimulus: &Stimulus) -> Result<Run, SimulationError> {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let directory = self.directory.join(format!("run_{}_{number}", std::process::id()));
        let run = self.run_in(&directory, stimulus);
        if run.is_ok() {
            std::fs::remove_dir_all(&directory).map_err(|cause| file_error(&directory, cause))?;
        }
        run
    }

    fn run_in(&self, directory: &Path, stimulus: &Stimulus) -> Result<Run, SimulationError> {
        std::fs::create_dir_all(directory).map_err(|cause| file_error(directory, cause))?;
        for name in &self.memories {
            let (from, to) = (self.directory.join(name), directory.join(name));
            if std::fs::hard_link(&from, &to).is_err() {
                std::fs::copy(&from, &to).map_err(|cause| file_error(&to, cause))?;
            }
        }
        for (name, text) in stimulus_files(&self.design, stimulus) {
            write(&directory.join(name), &text)?;
        }
        // The shell's `times` tells the processor time of what it ran.
        let mut command = Command::new("sh");
        command.args(["-c", "\"$@\"; status=$?; times >&2; exit $status", "sh"]).current_dir(directory);
        if self.simulator == Simulator::Icarus {
            command.args(["vvp", "-n"]);
        }
        command.arg(self.executable());
        command.arg(format!("+frames={}", stimulus.frames.len())).arg(format!("+seed={}", stimulus.stall_seed));
        if let Some(cycles) = stimulus.reset_after {
            command.arg(format!("+reset_after={cycles}"));
        }
        let output = command.output().map_err(|cause| file_error(directory, cause))?;
        let path = directory.join("trace.txt");
        if !output.status.success() || !path.exists() {
            return Err(SimulationError::Run { output: tail(&output) });
        }
        let text = std::fs::read_to_string(&path).map_err(|cause| file_error(&path, cause))?;
        let (trace, cycles) = parse_trace(&self.design, stimulus.frames.len(), &text)?
            .ok_or_else(|| SimulationError::Run { output: tail(&output) })?;
        Ok(Run { trace, cpu_seconds: children_seconds(&String::from_utf8_lossy(&output.stderr)), cycles })
    }
}

/// The clock for Verilator.
fn driver(core: &str) -> String {
    format!(
        "#include \"V{core}.h\"\n#include \"verilated.h\"\n\nint main(int argc, char** argv) {{\n    \
         VerilatedContext context;\n    context.commandArgs(argc, argv);\n    V{core} core(&context);\n    \
         core.clk = 0;\n    core.eval();\n    while (!context.gotFinish()) {{\n        core.clk = 1;\n        \
         core.eval();\n        context.timeInc(1);\n        core.clk = 0;\n        core.eval();\n        \
         context.timeInc(1);\n    }}\n    core.final();\n    return 0;\n}}\n"
    )
}

/// The trace and the number of cycles; `None` if the file breaks off.
fn parse_trace(design: &Design, frames: usize, text: &str) -> Result<Option<(Trace, u64)>, SimulationError> {
    let mut trace = Trace { frames: vec![vec![Vec::new(); design.outputs.len()]; frames], ..Trace::default() };
    trace.completions = vec![0; frames];
    let mut beats = vec![0u64; design.outputs.len()];
    for line in text.lines() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        match fields[..] {
            ["first", cycle] => trace.first_transfer = cycle.parse().unwrap_or(0),
            ["beat", port, cycle, last, word] => {
                let (Ok(number), Ok(cycle)) = (port.parse::<usize>(), cycle.parse::<u64>()) else { return Ok(None) };
                let Some(port) = design.outputs.get(number) else { return Ok(None) };
                let frame = (beats[number] / port.beats) as usize;
                let Some(elements) = elements(port, word) else {
                    let (port, beat) = (port.name.clone(), beats[number]);
                    return Err(SimulationError::Undefined { port, beat, text: word.to_owned() });
                };
                beats[number] += 1;
                let ends = beats[number].is_multiple_of(port.beats);
                if last != if ends { "1" } else { "0" } {
                    return Err(SimulationError::Framing { port: port.name.clone() });
                }
                if let Some(outputs) = trace.frames.get_mut(frame) {
                    outputs[number].extend(elements);
                    if ends {
                        trace.completions[frame] = trace.completions[frame].max(cycle);
                    }
                }
            }
            ["end", cycle, error] => {
                if error != "0" {
                    return Err(SimulationError::Framing { port: "frame_error".to_owned() });
                }
                return Ok(cycle.parse().ok().map(|cycles| (trace, cycles)));
            }
            ["stuck", cycle] => {
                let patience = lutweave_hw::rtl::harness::patience(design, &MemoryTiming::default());
                return Err(SimulationError::Deadlock { cycle: cycle.parse().unwrap_or(0), patience });
            }
            _ => return Ok(None),
        }
    }
    Ok(None)
}

fn elements(port: &TopPort, word: &str) -> Option<Vec<i32>> {
    let fields = parse_word(word, port.ty.lanes, port.ty.bits, port.ty.signed)?;
    Some(fields.into_iter().map(|field| field as i32).collect())
}

/// User and system time of the children from what `times` printed: two pairs like `0m1.25s`, the
/// shell's own and its children's.
fn children_seconds(text: &str) -> f64 {
    let Some(line) = text.lines().rev().find(|line| line.contains('m') && line.trim_end().ends_with('s')) else {
        return 0.0;
    };
    let seconds = |field: &str| -> Option<f64> {
        let (minutes, seconds) = field.strip_suffix('s')?.split_once('m')?;
        Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
    };
    line.split_ascii_whitespace().filter_map(seconds).sum()
}

fn hash(artefacts: &Artefacts) -> u64 {
    let bytes = artefacts.files.iter().flat_map(|(name, text)| name.bytes().chain([0]).chain(text.bytes()).chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn write(path: &Path, text: &str) -> Result<(), SimulationError> {
    std::fs::write(path, text).map_err(|cause| file_error(path, cause))
}

fn file_error(path: &Path, cause: std::io::Error) -> SimulationError {
    SimulationError::File { path: path.to_owned(), cause }
}

/// The last lines of what a program printed.
fn tail(output: &Output) -> String {
    let text = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

impl fmt::Display for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Verilator => "Verilator",
            Self::Icarus => "Icarus Verilog",
        })
    }
}

//! The command line.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use lutweave::executor::Kind;
use lutweave::options::{Choices, Deform, Method, Options, Pattern, Ranges, Weights};
use std::path::PathBuf;

/// A co-design compiler for embedded FPGAs.
///
/// Takes a trained model (ONNX) and gives back three things that agree bit for bit: Verilog for
/// the device, machine code for a CPU, and a cycle-exact simulator of the circuit in
/// WebAssembly.
#[derive(Debug, Parser)]
#[command(name = "lutweave", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compile a model: Verilog, CPU code, WebAssembly simulator, report.
    #[command(after_help = "Examples:\n  \
        lutweave compile mnist -o build/mnist\n  \
        lutweave compile model.onnx --task task.toml --device ultra96 -o build/model\n  \
        lutweave compile --task task.toml --weights 4 --multipliers 156 -o build/small\n  \
        lutweave compile --task task.toml --weights auto --max-drop 1.0 -o build/auto\n  \
        lutweave compile --task task.toml --keep-macs 0.3 --method rd -o build/pruned")]
    Compile(Compile),
    /// Trade accuracy for speed: the Pareto front of cycles, resources, bytes and accuracy.
    #[command(after_help = "Examples:\n  \
        lutweave explore --task task.toml --device ultra96 -o build/front\n  \
        lutweave explore --task task.toml --multipliers 156 --points 6 -o build/front")]
    Explore(Explore),
    /// What each step of reshaping deformable convolutions costs and saves, as a table.
    #[command(after_help = "Example:\n  lutweave variants --task task.toml --multipliers 240")]
    Variants(Variants),
    /// What limits a circuit; why a layer of a co-designed one was built as it was, and not otherwise.
    #[command(
        after_help = "Examples:\n  lutweave explain build/mnist\n  lutweave explain build/auto model/conv2d_2/Conv2D"
    )]
    Explain(Explain),
    /// Run all executors on the same samples and compare every output element, and cycles.
    #[command(after_help = "Examples:\n  \
        lutweave verify build/mnist\n  \
        lutweave verify build/mnist --samples 4 --executors interpreter,wasm,verilator --stall-seed 1")]
    Verify(Verify),
    /// Run a model or one executor of a compiled model on inputs, or draw what a detector finds.
    #[command(after_help = "Examples:\n  \
        lutweave run build/mnist --executor wasm --input x.npz -o y.npz\n  \
        lutweave run model.onnx --input x.npz -o y.npz\n  \
        lutweave run build/codenet-bccd --draw build/boxes")]
    Run(Run),
    /// Measure a task's metric for a model or a compiled model.
    #[command(after_help = "Examples:\n  \
        lutweave eval --task task.toml                      the float model of the task\n  \
        lutweave eval build/mnist --executor cpu            a compiled model")]
    Eval(Eval),
    /// Show layers, shapes, multiply-accumulates and parameters; text form or graph drawing.
    Inspect(Inspect),
    /// List the built-in models, or write one to a file.
    Models(Models),
    /// List the devices.
    Devices(Listing),
    /// List the passes of the compiler, in order.
    Passes(Listing),
}

impl Command {
    /// Passes after which the graph is printed.
    pub fn dumps(&self) -> &[String] {
        match self {
            Self::Compile(Compile { source, .. })
            | Self::Explore(Explore { source, .. })
            | Self::Variants(Variants { source, .. }) => &source.passes.dump_after,
            _ => &[],
        }
    }

    /// True if standard output is to be one JSON object.
    pub fn json(&self) -> bool {
        match self {
            Self::Compile(Compile { format, .. })
            | Self::Explore(Explore { format, .. })
            | Self::Variants(Variants { format, .. })
            | Self::Explain(Explain { format, .. })
            | Self::Verify(Verify { format, .. })
            | Self::Run(Run { format, .. })
            | Self::Eval(Eval { format, .. })
            | Self::Inspect(Inspect { format, .. })
            | Self::Models(Models { format, .. })
            | Self::Devices(Listing { format })
            | Self::Passes(Listing { format }) => format.json,
        }
    }
}

/// Shared by all commands.
#[derive(Clone, Copy, Debug, Args)]
pub struct Output {
    /// Print one JSON object on standard output, and nothing else there.
    #[arg(long)]
    pub json: bool,
}

/// Names of choices with their meaning, as clap shows and checks them.
fn one_of<T: Choices + Send + Sync>() -> impl TypedValueParser<Value = T> {
    let values = T::ALL.iter().map(|(_, name, meaning)| PossibleValue::new(*name).help(*meaning));
    PossibleValuesParser::new(values).map(|name| T::named(&name).expect("invariant: clap checked the name"))
}

/// What is told of the passes.
#[derive(Debug, Default, Args)]
pub struct Passes {
    /// Print the graph or the network on standard error after this pass, or after `all` (see `lutweave passes`).
    #[arg(long, value_name = "PASS")]
    pub dump_after: Vec<String>,
    /// Stop after this pass, print the graph or the network that it left, and write nothing.
    #[arg(long, value_name = "PASS")]
    pub stop_after: Option<String>,
    /// Show the time of each pass, here and in the report.
    #[arg(long)]
    pub timings: bool,
}

impl Passes {
    /// The passes that are named.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        self.dump_after.iter().chain(&self.stop_after).map(String::as_str).filter(|name| *name != "all")
    }
}

/// A model and how it is prepared: shared by the commands that compile.
#[derive(Debug, Args)]
pub struct Source {
    /// An .onnx file or the name of a built-in model; may be left out if the task names one.
    pub model: Option<String>,
    /// Task file: data for calibration and evaluation, and the metric.
    #[arg(long, value_name = "FILE")]
    pub task: Option<PathBuf>,
    /// Device (see `lutweave devices`), or a device file.
    #[arg(long, default_value = "ulx3s-85f")]
    pub device: String,
    /// Most hardware multipliers; by default as many as fit the device.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub multipliers: Option<u32>,
    /// How activation ranges are chosen that the model does not give; by default mse.
    #[arg(long, value_parser = one_of::<Ranges>())]
    pub ranges: Option<Ranges>,
    /// Calibration samples from an .npz file, one array per model input as the model is fed, in
    /// place of the task's.
    #[arg(long, value_name = "X.npz")]
    pub calibration: Option<PathBuf>,
    /// Calibration samples at most; by default 200.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub calibration_samples: Option<u32>,
    /// How free the taps of deformable convolutions are left; by default full.
    #[arg(long, value_parser = one_of::<Deform>())]
    pub deform: Option<Deform>,
    /// Largest offset or distance of deformable convolutions in pixels; by default 7, and with
    /// --deform full what the model or the calibration data show.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=127))]
    pub deform_reach: Option<u32>,
    /// Split dense deformable convolutions into one filter per channel and a mixture of channels.
    #[arg(long)]
    pub deform_depthwise: bool,
    /// Keep channels that never fire and weights that are zero but for rounding.
    #[arg(long)]
    pub keep_dead_channels: bool,
    /// Clean up with the rules in a fixed order instead of the e-graph, for comparison.
    #[arg(long)]
    pub no_egraph: bool,
    /// What is told of the passes.
    #[command(flatten)]
    pub passes: Passes,
}

/// `compile`.
#[derive(Debug, Args)]
pub struct Compile {
    /// The model.
    #[command(flatten)]
    pub source: Source,
    /// Width of weights, where the model does not give them; by default 8.
    #[arg(long, value_parser = one_of::<Weights>())]
    pub weights: Option<Weights>,
    /// With --weights auto or --deform auto: points (percent for errors) of the metric that the
    /// choice may cost; by default 1.
    #[arg(long, value_name = "POINTS", allow_negative_numbers = true, value_parser = points)]
    pub max_drop: Option<f64>,
    /// Prune this share of the weights.
    #[arg(long, value_name = "SHARE", conflicts_with = "keep_macs", value_parser = share, group = "target")]
    pub sparsity: Option<f64>,
    /// Prune until this share of the multiply-accumulates is left.
    #[arg(long, value_name = "SHARE", value_parser = share, group = "target")]
    pub keep_macs: Option<f64>,
    /// With --sparsity or --keep-macs: what is pruned; by default free.
    #[arg(long, requires = "target", value_parser = one_of::<Pattern>())]
    pub pattern: Option<Pattern>,
    /// With --sparsity or --keep-macs, and free weights: how layers' shares are chosen; by default rd.
    #[arg(long, requires = "target", value_parser = one_of::<Method>())]
    pub method: Option<Method>,
    /// Pick and rank a detector's peaks on the chip, as the task's [decode] says; the same boxes.
    #[arg(long)]
    pub head: bool,
    /// Load weights from outside the chip to leave block RAMs free, unless the circuit is slower so.
    #[arg(long)]
    pub load_weights: bool,
    /// Clock in MHz for the time figures; by default the device's.
    #[arg(long, value_name = "MHZ", allow_negative_numbers = true, value_parser = megahertz)]
    pub clock: Option<f64>,
    /// Directory to write; replaced if it is an earlier result.
    #[arg(short, long, value_name = "DIR", required_unless_present = "stop_after", conflicts_with = "stop_after")]
    pub output: Option<PathBuf>,
    /// Skip the comparison of executors and the accuracy.
    #[arg(long)]
    pub no_verify: bool,
    /// Refuse the model where there would be a warning, and write nothing.
    #[arg(long)]
    pub strict: bool,
    /// Output format.
    #[command(flatten)]
    pub format: Output,
}

impl Source {
    /// The options that these arguments ask for.
    pub fn options(&self) -> Options {
        Options {
            device: self.device.clone(),
            multipliers: self.multipliers,
            ranges: self.ranges,
            calibration: self.calibration.clone(),
            calibration_samples: self.calibration_samples,
            deform: self.deform,
            deform_reach: self.deform_reach,
            deform_depthwise: self.deform_depthwise,
            keep_dead_channels: self.keep_dead_channels,
            no_egraph: self.no_egraph,
            ..Options::default()
        }
    }
}

impl Compile {
    /// The options that these arguments ask for.
    pub fn options(&self) -> Options {
        Options {
            weights: self.weights,
            max_drop: self.max_drop,
            sparsity: self.sparsity,
            keep_macs: self.keep_macs,
            pattern: self.pattern,
            method: self.method,
            head: self.head,
            load_weights: self.load_weights,
            clock: self.clock,
            no_verify: self.no_verify,
            strict: self.strict,
            ..self.source.options()
        }
    }
}

/// `explore`.
#[derive(Debug, Args)]
pub struct Explore {
    /// The model.
    #[command(flatten)]
    pub source: Source,
    /// Error budgets that are tried; equal results become one point.
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub points: u32,
    /// Evaluation samples at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub samples: Option<u32>,
    /// Instead: cycles for each of these bandwidths of the memory on the board, in megabytes per second.
    #[arg(long, value_name = "MB/S,...", value_delimiter = ',', value_parser = bandwidth, conflicts_with_all = ["points", "samples"])]
    pub bandwidth: Vec<f64>,
    /// Directory to write; replaced if it is an earlier result.
    #[arg(short, long, value_name = "DIR", required_unless_present = "stop_after", conflicts_with = "stop_after")]
    pub output: Option<PathBuf>,
    /// Output format.
    #[command(flatten)]
    pub format: Output,
}

/// `variants`.
#[derive(Debug, Args)]
pub struct Variants {
    /// The model. Freedom and depthwise splitting go through all variants.
    #[command(flatten)]
    pub source: Source,
    /// Evaluation samples at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub samples: Option<u32>,
    /// Output format.
    #[command(flatten)]
    pub format: Output,
}

/// `explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// What `compile -o` wrote.
    pub directory: PathBuf,
    /// A layer of a circuit whose settings were chosen (`--weights auto`): its name or the end of it. Without one, all are
    /// listed; of other circuits, what limits them.
    pub layer: Option<String>,
    /// Output format.
    #[command(flatten)]
    pub format: Output,
}

/// Megabytes per second.
fn bandwidth(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(bandwidth) if bandwidth > 0.0 && bandwidth.is_finite() => Ok(bandwidth),
        _ => Err("numbers above 0 are needed".to_owned()),
    }
}

/// A share: above 0 (or 0 itself) and at most 1.
fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a number from 0 to 1 is needed".to_owned()),
    }
}

/// A clock: positive and finite.
fn megahertz(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(clock) if clock.is_finite() && clock > 0.0 => Ok(clock),
        _ => Err("a positive number of MHz is needed".to_owned()),
    }
}

fn points(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(points) if points.is_finite() => Ok(points),
        _ => Err("a number of points is needed".to_owned()),
    }
}

/// `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// What `compile -o` wrote.
    pub directory: PathBuf,
    /// Task whose evaluation samples are used; random samples where there is none.
    #[arg(long, value_name = "FILE")]
    pub task: Option<PathBuf>,
    /// Samples.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub samples: u32,
    /// Executors, separated by commas; all are compared with the first.
    #[arg(long, value_delimiter = ',', default_value = "interpreter,cpu,wasm", value_parser = one_of::<Kind>())]
    pub executors: Vec<Kind>,
    /// Random source bubbles and sink back-pressure in the circuits.
    #[arg(long, value_name = "SEED")]
    pub stall_seed: Option<u32>,
    /// Reset the circuits after so many cycles, then start again.
    #[arg(long, value_name = "CYCLES")]
    pub reset_after: Option<u64>,
    /// Give the circuits each frame by itself instead of back to back.
    #[arg(long)]
    pub one_by_one: bool,
    /// How the memory on the board answers: `fast`, `slow`, or as a TOML file says.
    #[arg(long, value_name = "fast|slow|FILE")]
    pub memory: Option<String>,
    /// Output format.
    #[command(flatten)]
    pub format: Output,
}

/// `models`.
#[derive(Debug, Args)]
pub struct Models {
    /// Write this model as an ONNX file instead.
    #[arg(long, value_name = "NAME", requires = "output")]
    pub export: Option<String>,
    /// Where it goes.
    #[arg(short, long, value_name = "FILE.onnx", requires = "export")]
    pub output: Option<PathBuf>,
    /// Output format.
    #[command(flatten)]
    pub format: Output,
}

/// `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// What `compile -o` wrote; or a model, which runs as it came, in the interpreter.
    pub model: String,
    /// Executor of a compiled model; by default cpu.
    #[arg(long, value_parser = one_of::<Kind>())]
    pub executor: Option<Kind>,
    /// Inputs: an .npz file with one array per model input (by name, or the only array) as the model
    /// is fed, with or without a leading axis of samples. Evaluation samples of the task if left out.
    #[arg(long, value_name = "X.npz")]
    pub input: Option<PathBuf>,
    /// Where the outputs go: an .npz file with one array per model output.
    #[arg(short, long, value_name = "Y.npz", required_unless_present = "draw")]
    pub output: Option<PathBuf>,
    /// Directory for a detector's images with boxes (PNG), and a list of the boxes in pixels.
    #[arg(long, value_name = "DIR")]
    pub draw: Option<PathBuf>,
    /// Task whose evaluation samples are run, and that says how a detector's outputs are read;
    /// built-in models have their own.
    #[arg(long, value_name = "FILE")]
    pub task: Option<PathBuf>,
    /// Evaluation samples at most, where there is no --input; by default 8.
    #[arg(long, value_name = "N", conflicts_with = "input", value_parser = clap::value_parser!(u32).range(1..))]
    pub samples: Option<u32>,
    /// Least score of a detection that is drawn, 0 to 1; by default 0.3.
    #[arg(long, value_name = "SCORE", requires = "draw")]
    pub min_score: Option<f64>,
    /// Output format.
    #[command(flatten)]
    pub format: Output,
}

/// `eval`.
#[derive(Debug, Args)]
pub struct Eval {
    /// A model, or what `compile -o` wrote; may be left out if the task names the model.
    pub model: Option<String>,
    /// Task file; built-in models have their own.
    #[arg(long, value_name = "FILE")]
    pub task: Option<PathBuf>,
    /// Executor of a compiled model; by default cpu.
    #[arg(long, value_parser = one_of::<Kind>())]
    pub executor: Option<Kind>,
    /// Evaluation samples at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub samples: Option<u32>,
    /// Output format.
    #[command(flatten)]
    pub format: Output,
}

/// What `inspect` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum View {
    /// A table of layers.
    Table,
    /// The text form; large constants as a hash.
    Text,
    /// The text form with all constants; parses back.
    Full,
    /// Graphviz.
    Dot,
}

/// `inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// A model, or what `compile -o` wrote.
    pub model: Option<String>,
    /// Task file that names the model.
    #[arg(long, value_name = "FILE")]
    pub task: Option<PathBuf>,
    /// What to print; by default table.
    #[arg(long, conflicts_with = "json")]
    pub view: Option<View>,
    /// A model before the clean-up passes, as imported.
    #[arg(long, conflicts_with = "stop_after")]
    pub raw: bool,
    /// A model after this pass (see `lutweave passes`), with the options that `compile` has by default; by
    /// default after simplify.
    #[arg(long, value_name = "PASS")]
    pub stop_after: Option<String>,
    /// Output format.
    #[command(flatten)]
    pub format: Output,
}

/// `devices` and `passes`.
#[derive(Debug, Args)]
pub struct Listing {
    /// Output format.
    #[command(flatten)]
    pub format: Output,
}

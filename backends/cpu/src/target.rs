//! Which machine the code is for.

use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use lutweave_ir::Diagnostic;
use std::fmt::Display;

/// The instructions that generated code may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Features {
    /// What every processor of the architecture has: SSE2 on x86-64, Neon on aarch64.
    Baseline,
    /// x86-64-v3 (AVX2, FMA) without dot-product instructions; elsewhere the baseline.
    Avx2,
    /// Everything the machine that compiles has.
    #[default]
    Native,
}

/// Settings of a compilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The instructions that the code may use.
    pub features: Features,
    /// Run Cranelift's verifier on the generated code: slow, for tests of this crate.
    pub verify: bool,
}

#[allow(clippy::derivable_impls, reason = "the constant is not the default in debug builds")]
impl Default for Options {
    fn default() -> Self {
        Self { features: Features::default(), verify: cfg!(debug_assertions) }
    }
}

/// The instruction choices that depend on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// One instruction sums four products of unsigned and signed bytes into each 32-bit lane.
    pub dot4: bool,
    /// Fused multiply-add of `f64x2` in one instruction.
    pub fma: bool,
}

/// A target and what the kernels may use on it.
pub(crate) struct Target {
    pub isa: OwnedTargetIsa,
    pub capabilities: Capabilities,
}

const X86_64_V3: [&str; 10] = [
    "has_sse3",
    "has_ssse3",
    "has_sse41",
    "has_sse42",
    "has_popcnt",
    "has_avx",
    "has_avx2",
    "has_fma",
    "has_bmi1",
    "has_bmi2",
];

/// The host as a target. With `position_independent` code may be linked anywhere.
pub(crate) fn host(options: Options, position_independent: bool) -> Result<Target, Diagnostic> {
    let native = options.features == Features::Native;
    let mut builder = cranelift_native::builder_with_options(native).map_err(unsupported)?;
    if options.features == Features::Avx2 && cfg!(target_arch = "x86_64") {
        for feature in X86_64_V3 {
            builder.enable(feature).map_err(unsupported)?;
        }
    }
    let mut flags = settings::builder();
    let verifier = if options.verify { "true" } else { "false" };
    let pic = if position_independent { "true" } else { "false" };
    // The e-graph optimizer moves loads away from their uses, which makes the kernels spill; they
    // are written in the order in which they should run.
    let settings = [
        ("opt_level", "none"),
        ("enable_verifier", verifier),
        ("is_pic", pic),
        ("use_colocated_libcalls", "false"),
        ("unwind_info", "false"),
        ("enable_probestack", "false"),
    ];
    for (name, value) in settings {
        flags.set(name, value).map_err(unsupported)?;
    }
    let isa = builder.finish(settings::Flags::new(flags)).map_err(unsupported)?;
    let capabilities = capabilities(&*isa);
    Ok(Target { isa, capabilities })
}

fn capabilities(isa: &dyn isa::TargetIsa) -> Capabilities {
    let flags = isa.isa_flags();
    let has = |name: &str| flags.iter().any(|flag| flag.name == name && flag.as_bool() == Some(true));
    let vex = has("has_avx") && has("has_avx_vnni");
    let evex = has("has_avx") && has("has_avx512vl") && has("has_avx512vnni");
    let neon = matches!(isa.name(), "aarch64");
    Capabilities { dot4: vex || evex, fma: neon || (has("has_avx") && has("has_fma")) }
}

/// Whether this machine can run code compiled with these features.
pub(crate) fn host_runs(features: Features) -> bool {
    match features {
        Features::Baseline | Features::Native => true,
        #[cfg(target_arch = "x86_64")]
        Features::Avx2 => {
            std::is_x86_feature_detected!("avx2")
                && std::is_x86_feature_detected!("fma")
                && std::is_x86_feature_detected!("bmi1")
                && std::is_x86_feature_detected!("bmi2")
        }
        #[cfg(not(target_arch = "x86_64"))]
        Features::Avx2 => true,
    }
}

fn unsupported(cause: impl Display) -> Diagnostic {
    Diagnostic::error("unsupported-host", format!("no machine code can be generated for this machine: {cause}"))
        .help("use the interpreter or the WebAssembly simulator here")
}

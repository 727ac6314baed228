//! A [`Design`] as Verilog-2005 that Verilator, Icarus, Yosys and Vivado take, with memory files,
//! a self-checking test bench, and the simulators to run it.

mod engine;
mod lower;
mod memory;
mod module;
mod namer;
mod printer;
mod reserved;
pub mod simulate;
mod syntax;
pub mod synthesis;
mod testbench;
mod top;
mod unread;

pub use simulate::{Build, Options, Run, SimulationError, Simulator, available, simulate};
pub use testbench::emit_testbench;

use lutweave_hw::family::Family;
use lutweave_hw::rtl::Design;
use std::collections::HashMap;
use std::sync::Arc;

/// The files of a design.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Artefacts {
    /// Name of the top module, and of its file without `.v`.
    pub top: String,
    /// Relative name and content: `.v` files, one per module, and `.hex` files that they read by
    /// plain name.
    pub files: Vec<(String, String)>,
}

/// Emits a design. It must be valid (`lutweave_hw::rtl::validate`).
pub fn emit(design: &Design) -> Artefacts {
    let mut files = Files { family: Arc::clone(&design.family), ..Files::default() };
    let top_name = files.modules.unique(&design.name);
    let names: Vec<String> = design
        .modules
        .iter()
        .enumerate()
        .map(|(position, module)| {
            match design.modules[..position].iter().position(|earlier| same_structure(earlier, module)) {
                Some(_) => String::new(),
                None => files.modules.unique(&module.name),
            }
        })
        .collect();
    let mut modules: Vec<String> = Vec::new();
    for (position, module) in design.modules.iter().enumerate() {
        if names[position].is_empty() {
            let earlier = design.modules.iter().position(|earlier| same_structure(earlier, module));
            modules.push(modules[earlier.expect("invariant: an earlier module has this structure")].clone());
            continue;
        }
        let emitted = module::emit(module, &names[position], &mut files);
        files.push(emitted);
        modules.push(names[position].clone());
    }
    let top = top::emit(design, &top_name, &modules);
    files.push(top);
    Artefacts { top: top_name, files: files.texts }
}

/// The files of one module, under its own name.
fn emit_module(module: &lutweave_hw::rtl::Module) -> Vec<(String, String)> {
    let mut files = Files::default();
    let name = files.modules.unique(&module.name);
    let emitted = module::emit(module, &name, &mut files);
    files.push(emitted);
    files.texts
}

fn same_structure(a: &lutweave_hw::rtl::Module, b: &lutweave_hw::rtl::Module) -> bool {
    a.signals == b.signals
        && a.memories == b.memories
        && a.pipelines == b.pipelines
        && a.engines == b.engines
        && a.inputs == b.inputs
        && a.outputs == b.outputs
        && a.statements == b.statements
}

/// The files emitted so far.
#[derive(Default)]
struct Files {
    family: Arc<Family>,
    texts: Vec<(String, String)>,
    modules: namer::Namer,
    memories: namer::Namer,
    shared: HashMap<String, String>,
}

impl Files {
    /// Adds the file of a module.
    fn push(&mut self, mut module: syntax::Module) {
        unread::sink(&mut module);
        self.texts.push((format!("{}.v", module.name), printer::module(&module)));
    }

    /// Adds a module unless one of the same body exists; its name.
    fn share(&mut self, mut module: syntax::Module) -> String {
        let body = printer::module(&module);
        if let Some(name) = self.shared.get(&body) {
            return name.clone();
        }
        module.name = self.modules.unique(&module.name);
        self.shared.insert(body, module.name.clone());
        let name = module.name.clone();
        self.push(module);
        name
    }

    /// Adds the text of a module unless it is there.
    fn text(&mut self, name: &str, text: impl FnOnce() -> String) {
        let file = format!("{name}.v");
        if !self.texts.iter().any(|(other, _)| *other == file) {
            self.modules.unique(name);
            self.texts.push((file, text()));
        }
    }

    /// Adds a memory file; its name.
    fn hex(&mut self, base: &str, text: String) -> String {
        let name = format!("{}.hex", self.memories.unique(base));
        self.texts.push((name.clone(), text));
        name
    }
}

//! The C side of an object file.

use crate::program::ALIGNMENT;
use crate::target::Features;
use lutweave_ir::{Graph, NodeId, TensorType};
use std::collections::BTreeSet;
use std::fmt::Write;

/// One array that the C program passes.
struct Argument {
    /// C identifier.
    identifier: String,
    /// Name in the graph.
    name: String,
    ty: TensorType,
}

impl Argument {
    fn c_type(&self) -> &'static str {
        if self.ty.element.range().is_some_and(|(lo, _)| lo < 0) { "int8_t" } else { "uint8_t" }
    }
}

/// Names and sizes of the C interface.
pub(crate) struct Interface {
    name: String,
    model: String,
    features: Features,
    inputs: Vec<Argument>,
    outputs: Vec<Argument>,
    arena_size: usize,
}

impl Interface {
    /// Chooses C identifiers that are distinct and no keywords.
    pub fn new(graph: &Graph, name: &str, features: Features, arena_size: usize) -> Self {
        let name = if name.is_empty() { &graph.name } else { name };
        let mut taken: BTreeSet<String> = ["arena".to_owned()].into();
        let mut arguments = |ids: &[NodeId], kind: &str| -> Vec<Argument> {
            ids.iter()
                .map(|&id| {
                    let node = graph.node(id);
                    let base = identifier(&format!("{kind}_{}", node.name), kind);
                    let mut chosen = base.clone();
                    let mut suffix = 1;
                    while !taken.insert(chosen.clone()) {
                        suffix += 1;
                        chosen = format!("{base}_{suffix}");
                    }
                    Argument { identifier: chosen, name: node.name.clone(), ty: node.ty.clone() }
                })
                .collect()
        };
        let inputs = arguments(graph.inputs(), "input");
        let outputs = arguments(graph.outputs(), "output");
        Self { name: identifier(name, "model"), model: graph.name.clone(), features, inputs, outputs, arena_size }
    }

    /// The prefix of all names.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The symbol of the entry point.
    pub fn function(&self) -> String {
        format!("{}_run", self.name)
    }

    fn prefix(&self) -> String {
        self.name.to_uppercase()
    }

    fn prototype(&self) -> String {
        let inputs = self.inputs.iter().map(|input| format!("const {} *{}", input.c_type(), input.identifier));
        let outputs = self.outputs.iter().map(|output| format!("{} *{}", output.c_type(), output.identifier));
        let parameters: Vec<String> = inputs.chain(outputs).chain(["void *arena".to_owned()]).collect();
        format!("void {}({})", self.function(), parameters.join(", "))
    }
}

/// Letters, digits and underscores only, not starting with a digit.
fn identifier(name: &str, fallback: &str) -> String {
    let mut identifier: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if identifier.is_empty() {
        identifier = fallback.to_owned();
    }
    if identifier.starts_with(|c: char| c.is_ascii_digit()) {
        identifier.insert(0, '_');
    }
    identifier
}

/// Text that neither ends a C comment nor seems to begin one.
fn comment(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>()
        .replace("*/", "* /")
        .replace("/*", "/ *")
}

/// The header file.
pub(crate) fn header(interface: &Interface) -> String {
    let prefix = interface.prefix();
    let target = match interface.features {
        Features::Baseline => "any processor of its architecture",
        Features::Avx2 => "x86-64 processors with AVX2 and FMA",
        Features::Native => "processors with all features of the one it was compiled on",
    };
    let mut text = format!(
        "\
/* Model `{}`, compiled by Lutweave for {target}.
 *
 * Link with {}.o. The function has no state, allocates nothing and calls nothing; threads may
 * call it at the same time with different arenas. It expects the default floating-point rounding
 * mode. Arrays are row-major, one byte per element, images are [1, height, width, channels], and
 * real = SCALE * (element - ZERO_POINT). */
#ifndef {prefix}_H
#define {prefix}_H

#include <stdint.h>

",
        comment(&interface.model),
        interface.name
    );
    let _ = writeln!(text, "/* Memory that a call works in; its contents need not be kept between calls. */");
    let _ = writeln!(text, "#define {prefix}_ARENA_SIZE {}", interface.arena_size);
    let _ = writeln!(text, "#define {prefix}_ARENA_ALIGNMENT {ALIGNMENT}\n");
    for (kind, arguments) in [("INPUT", &interface.inputs), ("OUTPUT", &interface.outputs)] {
        let _ = writeln!(text, "#define {prefix}_{kind}_COUNT {}\n", arguments.len());
        for (index, argument) in arguments.iter().enumerate() {
            argument_macros(&mut text, &format!("{prefix}_{kind}_{index}"), argument);
        }
    }
    let _ = write!(
        text,
        "#ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n\
         /* Runs the model once. The arena has {prefix}_ARENA_SIZE bytes, aligned to\n \
         * {prefix}_ARENA_ALIGNMENT; no array may overlap another. */\n\
         {};\n\n#ifdef __cplusplus\n}}\n#endif\n\n#endif\n",
        interface.prototype()
    );
    text
}

fn argument_macros(text: &mut String, prefix: &str, argument: &Argument) {
    let ty = &argument.ty;
    let shape: Vec<String> = ty.shape.iter().map(ToString::to_string).collect();
    let _ = writeln!(text, "/* `{}`: elements of type {}. */", comment(&argument.name), ty.element);
    let _ = writeln!(text, "#define {prefix}_SIZE {}", ty.count());
    let _ = writeln!(text, "#define {prefix}_RANK {}", shape.len());
    let _ = writeln!(text, "#define {prefix}_SHAPE {{{}}}", shape.join(", "));
    if let Some((least, most)) = ty.element.range() {
        let _ = writeln!(text, "#define {prefix}_LEAST ({least})\n#define {prefix}_MOST {most}");
    }
    if let Some(quantization) = ty.quantization {
        let _ = writeln!(text, "#define {prefix}_SCALE {:e}f", quantization.scale);
        let _ = writeln!(text, "#define {prefix}_ZERO_POINT ({})", quantization.zero_point);
    }
    text.push('\n');
}

/// A program that runs the model on frames from its standard input.
pub(crate) fn example(interface: &Interface) -> String {
    let prefix = interface.prefix();
    let mut text = format!(
        "/* Runs model `{}` on frames from standard input and writes the results to standard output:\n \
         * for every frame all inputs in order, one byte per element, and likewise all outputs.\n *\n \
         *     cc -O2 -o {name} {name}_example.c {name}.o && ./{name} < frames.bin > results.bin */\n\
         #include \"{name}.h\"\n\n#include <stdio.h>\n\n\
         static _Alignas({prefix}_ARENA_ALIGNMENT) unsigned char arena[{prefix}_ARENA_SIZE];\n",
        comment(&interface.model),
        name = interface.name,
    );
    for (kind, arguments) in [("INPUT", &interface.inputs), ("OUTPUT", &interface.outputs)] {
        for (index, argument) in arguments.iter().enumerate() {
            let (ty, identifier) = (argument.c_type(), &argument.identifier);
            let _ = writeln!(text, "static {ty} {identifier}[{prefix}_{kind}_{index}_SIZE];");
        }
    }
    text.push_str("\nint main(void)\n{\n");
    let frames = !interface.inputs.is_empty();
    let indent = if frames { "        " } else { "    " };
    if frames {
        text.push_str("    for (;;) {\n");
    }
    for (index, input) in interface.inputs.iter().enumerate() {
        let _ = writeln!(text, "{indent}size_t got_{0} = fread({0}, 1, sizeof {0}, stdin);", input.identifier);
        if index == 0 {
            let _ = writeln!(text, "{indent}if (got_{} == 0 && feof(stdin))\n{indent}    return 0;", input.identifier);
        }
        let _ = writeln!(text, "{indent}if (got_{0} != sizeof {0})\n{indent}    return 1;", input.identifier);
    }
    let arguments: Vec<&str> =
        interface.inputs.iter().chain(&interface.outputs).map(|argument| argument.identifier.as_str()).collect();
    let separator = if arguments.is_empty() { "" } else { ", " };
    let _ = writeln!(text, "{indent}{}({}{separator}arena);", interface.function(), arguments.join(", "));
    for output in &interface.outputs {
        let _ = writeln!(text, "{indent}if (fwrite({0}, 1, sizeof {0}, stdout) != sizeof {0})", output.identifier);
        let _ = writeln!(text, "{indent}    return 1;");
    }
    text.push_str(if frames { "    }\n}\n" } else { "    return 0;\n}\n" });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_identifiers() {
        assert_eq!(identifier("resnet-8/v1", "model"), "resnet_8_v1");
        assert_eq!(identifier("8bit", "model"), "_8bit");
        assert_eq!(identifier("", "model"), "model");
    }

    #[test]
    fn comments_cannot_be_closed() {
        assert_eq!(comment("a*/b\nc"), "a* /b c");
    }
}

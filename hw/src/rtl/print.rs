//! Text form of a design, for reading and for snapshots.

use super::engine::Step;
use super::{
    Design, Endpoint, Engine, Expr, Memory, Module, Products, Reduce, Signal, SignalId, SignalKind, Statement,
};
use std::fmt::Write;

/// The text of a design. Contents of ROMs and weights appear as their length and hash.
pub fn print(design: &Design) -> String {
    let mut text = format!("design {}\n", design.name);
    for port in &design.inputs {
        let _ = writeln!(text, "input {}: {} x {}", port.name, port.ty, port.beats);
    }
    for port in &design.outputs {
        let _ = writeln!(text, "output {}: {} x {}", port.name, port.ty, port.beats);
    }
    for channel in &design.channels {
        let (from, to) = (source(design, channel.from), target(design, channel.to));
        let _ = writeln!(text, "channel {}: {} {from} -> {to}", channel.name, channel.ty);
    }
    for module in &design.modules {
        text.push('\n');
        text.push_str(&print_module(module));
    }
    text
}

/// The text of one module.
pub fn print_module(module: &Module) -> String {
    let mut text = format!("module {} // {}\n", module.name, module.summary);
    let name = |id: SignalId| name(module, id);
    for input in &module.inputs {
        let _ = writeln!(
            text,
            "  input {}: data {}, valid {}, ready {}",
            input.name,
            name(input.data),
            name(input.valid),
            name(input.ready)
        );
    }
    for output in &module.outputs {
        let _ = writeln!(
            text,
            "  output {}: data {}, valid {}, ready {}",
            output.name,
            name(output.data),
            name(output.valid),
            name(output.ready)
        );
    }
    for memory in &module.memories {
        let _ = writeln!(text, "  {}", memory_text(memory));
    }
    for pipeline in &module.pipelines {
        let parameters: Vec<String> = pipeline.parameters.iter().map(|id| name(*id)).collect();
        let _ = writeln!(
            text,
            "  pipeline {}({}) {} stages, valid {}",
            pipeline.name,
            parameters.join(", "),
            pipeline.stages,
            name(pipeline.valid)
        );
    }
    for engine in &module.engines {
        let _ = writeln!(text, "  {}", engine_text(module, engine));
    }
    for signal in &module.signals {
        let _ = writeln!(text, "  {}", signal_text(module, signal));
    }
    print_statements(module, &module.statements, 1, &mut text);
    text
}

/// FNV-1a over the little-endian bytes of the values.
fn hash(values: impl Iterator<Item = i64>) -> u64 {
    values
        .flat_map(i64::to_le_bytes)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn name(module: &Module, id: SignalId) -> String {
    module.signals.get(id.0 as usize).map_or_else(|| format!("?{}", id.0), |signal| signal.name.clone())
}

fn source(design: &Design, endpoint: Endpoint) -> String {
    match endpoint {
        Endpoint::Top(port) => {
            design.inputs.get(port as usize).map_or_else(|| format!("?{port}"), |port| port.name.clone())
        }
        Endpoint::Supply(port) => format!("supply.{port}"),
        Endpoint::Port(id, port) => match design.modules.get(id.0 as usize) {
            Some(module) => {
                let port = module.outputs.get(port as usize).map_or("?", |output| output.name.as_str());
                format!("{}.{port}", module.name)
            }
            None => format!("?{}.{port}", id.0),
        },
    }
}

fn target(design: &Design, endpoint: Endpoint) -> String {
    match endpoint {
        Endpoint::Top(port) => {
            design.outputs.get(port as usize).map_or_else(|| format!("?{port}"), |port| port.name.clone())
        }
        Endpoint::Supply(port) => format!("supply.{port}"),
        Endpoint::Port(id, port) => match design.modules.get(id.0 as usize) {
            Some(module) => {
                let port = module.inputs.get(port as usize).map_or("?", |input| input.name.as_str());
                format!("{}.{port}", module.name)
            }
            None => format!("?{}.{port}", id.0),
        },
    }
}

fn memory_text(memory: &Memory) -> String {
    let Memory { name, word, depth, contents, style, .. } = memory;
    match contents {
        Some(contents) => {
            let hash = hash(contents.iter().copied());
            format!("rom {name}: {word} x {depth}, {style:?}, {} values #{hash:016x}", contents.len())
        }
        None => format!("ram {name}: {word} x {depth}, {style:?}"),
    }
}

fn engine_text(module: &Module, engine: &Engine) -> String {
    let products = |products: &Products| {
        let Products { weight_bits, addresses, multiplier, memory, loaded, .. } = products;
        if let Some(bytes) = loaded {
            return format!(
                "weights i{weight_bits} of {addresses} addresses in {memory:?}, loaded by {bytes} bytes, multiplier \
                 {multiplier:?}"
            );
        }
        let hash = hash(engine.weights.iter().map(|&weight| i64::from(weight)));
        format!(
            "{} weights i{weight_bits} of {addresses} addresses in {memory:?} #{hash:016x}, multiplier {multiplier:?}",
            engine.weights.len()
        )
    };
    let reduce = match &engine.reduce {
        Reduce::Dense { outputs, pattern, products: formed } => {
            let pattern = pattern.map_or(String::new(), |pattern| format!(", {pattern}"));
            format!("dense {outputs} outputs{pattern}, {}", products(formed))
        }
        Reduce::Depthwise { products: formed } => format!("depthwise, {}", products(formed)),
        Reduce::Max => "max".to_owned(),
        Reduce::Sum => "sum".to_owned(),
    };
    let [height, width] = engine.kernel;
    let [down, right] = engine.dilations;
    format!(
        "engine {}: {reduce}; word {}, ring {} of {} rows, {} columns, {} groups; kernel {height}x{width} by \
         {down}x{right}, pad {}, taps {:?}; result {}, valid {}",
        engine.name,
        engine.word,
        engine.rows,
        engine.image_rows,
        engine.columns,
        engine.groups,
        engine.pad_value,
        engine.parallel,
        name(module, engine.result),
        name(module, engine.valid)
    )
}

fn signal_text(module: &Module, signal: &Signal) -> String {
    let Signal { name: own, ty, kind } = signal;
    match kind {
        SignalKind::Register { reset: Some(reset) } => format!("reg {own}: {ty} reset {reset}"),
        SignalKind::Register { reset: None } => format!("reg {own}: {ty}"),
        SignalKind::Wire(value) => format!("wire {own}: {ty} = {}", print_expr(module, value)),
        SignalKind::InputValid => format!("input_valid {own}: {ty}"),
        SignalKind::InputData => format!("input_data {own}: {ty}"),
        SignalKind::OutputReady => format!("output_ready {own}: {ty}"),
        SignalKind::Parameter(pipeline) => format!("parameter {own}: {ty} of {}", pipeline.0),
        SignalKind::Stage { pipeline, stage, value } => {
            format!("stage {}.{stage} {own}: {ty} = {}", pipeline.0, print_expr(module, value))
        }
        SignalKind::PipelineValid(pipeline) => format!("pipeline_valid {own}: {ty} of {}", pipeline.0),
        SignalKind::EngineValid(engine) => format!("engine_valid {own}: {ty} of {}", engine.0),
        SignalKind::EngineResult(engine) => format!("engine_result {own}: {ty} of {}", engine.0),
    }
}

fn print_statements(module: &Module, statements: &[Statement], depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    let expr = |value: &Expr| print_expr(module, value);
    let memory =
        |id: super::MemoryId| module.memories.get(id.0 as usize).map_or("?", |memory| memory.name.as_str()).to_owned();
    let engine = |id: super::EngineId| module.engines.get(id.0 as usize).map_or("?", |engine| engine.name.as_str());
    for statement in statements {
        let line = match statement {
            Statement::Set(id, value) => format!("{} <- {}", name(module, *id), expr(value)),
            Statement::If { condition, then, otherwise } => {
                let _ = writeln!(text, "{indent}if {} {{", expr(condition));
                print_statements(module, then, depth + 1, text);
                if !otherwise.is_empty() {
                    let _ = writeln!(text, "{indent}}} else {{");
                    print_statements(module, otherwise, depth + 1, text);
                }
                "}".to_owned()
            }
            Statement::Read { memory: id, address, into } => {
                format!("{} <- {}[{}]", name(module, *into), memory(*id), expr(address))
            }
            Statement::Write { memory: id, address, data } => {
                format!("{}[{}] <- {}", memory(*id), expr(address), expr(data))
            }
            Statement::Launch { pipeline, arguments } => {
                let arguments: Vec<String> = arguments.iter().map(expr).collect();
                let pipeline = module.pipelines.get(pipeline.0 as usize).map_or("?", |pipeline| pipeline.name.as_str());
                format!("launch {pipeline}({})", arguments.join(", "))
            }
            Statement::Fill { engine: id, row, column, group, data } => {
                format!("fill {}[{}, {}, {}] <- {}", engine(*id), expr(row), expr(column), expr(group), expr(data))
            }
            Statement::Load { engine: id, address, part, data } => {
                format!("load {}[{}, {}] <- {}", engine(*id), expr(address), expr(part), expr(data))
            }
            Statement::Issue { engine: id, step } => {
                let Step { ring, row, column, group, tap, address, last } = step;
                format!(
                    "issue {} ring {} row {} column {} group {} tap {} address {} last {}",
                    engine(*id),
                    expr(ring),
                    expr(row),
                    expr(column),
                    expr(group),
                    expr(tap),
                    expr(address),
                    expr(last)
                )
            }
        };
        let _ = writeln!(text, "{indent}{line}");
    }
}

/// The text of an expression.
pub fn print_expr(module: &Module, value: &Expr) -> String {
    let of = |value: &Expr| print_expr(module, value);
    let signal = |id: SignalId| name(module, id);
    let list = |values: &[Expr]| values.iter().map(of).collect::<Vec<_>>().join(", ");
    match value {
        Expr::Const(value) => value.to_string(),
        Expr::Signal(id) => signal(*id),
        Expr::Lane(id, lane) => format!("{}.{lane}", signal(*id)),
        Expr::LaneAt(id, index) => format!("{}[{}]", signal(*id), of(index)),
        Expr::Add(a, b) => format!("({} + {})", of(a), of(b)),
        Expr::Sub(a, b) => format!("({} - {})", of(a), of(b)),
        Expr::Mul(a, b) => format!("({} * {})", of(a), of(b)),
        Expr::Shl(a, by) => format!("({} << {by})", of(a)),
        Expr::Shr(a, by) => format!("({} >> {by})", of(a)),
        Expr::ShrBy(a, by) => format!("({} >> {})", of(a), of(by)),
        Expr::Low(a, bits) => format!("low({}, {bits})", of(a)),
        Expr::And(a, b) => format!("({} & {})", of(a), of(b)),
        Expr::Or(a, b) => format!("({} | {})", of(a), of(b)),
        Expr::Not(a) => format!("!{}", of(a)),
        Expr::Eq(a, b) => format!("({} == {})", of(a), of(b)),
        Expr::Lt(a, b) => format!("({} < {})", of(a), of(b)),
        Expr::Mux(condition, a, b) => format!("({} ? {} : {})", of(condition), of(a), of(b)),
        Expr::Clamp(a, lo, hi) => format!("clamp({}, {lo}, {hi})", of(a)),
        Expr::Pack(ty, lanes) => format!("pack {ty} [{}]", list(lanes)),
        Expr::Slice { signal: id, start, lanes } => format!("{}.{start}..{}", signal(*id), start + lanes),
        Expr::SliceAt { signal: id, index, lanes } => format!("{}[{} * {lanes} ..+ {lanes}]", signal(*id), of(index)),
        Expr::Join(parts) => format!("join [{}]", list(parts)),
        Expr::Rom(memory, address) => {
            let memory = module.memories.get(memory.0 as usize).map_or("?", |memory| memory.name.as_str());
            format!("{memory}[{}]", of(address))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::{Builder, set, when};
    use super::super::expr::{add, and};
    use super::super::{Expr, Ty};
    use super::print_module;

    #[test]
    fn a_small_module() {
        let mut b = Builder::new("counter", "Counts.");
        let input = b.input("x", Ty::signed(8));
        let count = b.register("count", Ty::unsigned(4), 3);
        b.rom("table", Ty::unsigned(2), vec![0, 1, 2, 3]);
        b.ready(input, Expr::Const(1));
        let module = b.finish(vec![when(and(input.valid, Expr::Const(1)), vec![set(count, add(count, 1))])]);
        let text = "\
module counter // Counts.
  input x: data x_tdata, valid x_tvalid, ready x_tready
  rom table: u2 x 4, Distributed, 4 values #64dbcbc3ab5bf1a5
  input_valid x_tvalid: u1
  input_data x_tdata: i8
  reg count: u4 reset 3
  wire x_tready: u1 = 1
  if (x_tvalid & 1) {
    count <- (count + 1)
  }
";
        assert_eq!(print_module(&module), text);
    }
}

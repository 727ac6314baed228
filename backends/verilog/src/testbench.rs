//! The test bench: drives a design as `lutweave_hw::rtl::harness` prescribes and checks it.

use crate::memory::hex_file;
use crate::namer::Namer;
use crate::top::{TopStream, top_streams};
use lutweave_hw::rtl::harness::{Stall, Stimulus, Trace, patience};
use lutweave_hw::rtl::{Design, TopPort};
use std::fmt::Write;

/// Names of the test bench's modules: what a simulator with a clock of its own takes as top, and
/// the wrapper that makes the clock.
pub fn testbench_names(design: &Design) -> (String, String) {
    let top = Namer::default().unique(&design.name);
    (format!("{top}_tb_core"), format!("{top}_tb"))
}

/// Files of a self-checking test bench to lie beside the design's: `<top>_tb.v` and
/// `<top>_tb_core.v`, `stimulus_<port>.hex`, and with a trace `expected_<port>.hex`, which the
/// outputs are compared with.
pub fn emit_testbench(design: &Design, stimulus: &Stimulus, expected: Option<&Trace>) -> Vec<(String, String)> {
    let (core, wrapper) = testbench_names(design);
    let mut files = vec![
        (format!("{core}.v"), core_text(design, stimulus, expected.is_some())),
        (format!("{wrapper}.v"), wrapper_text(&core, &wrapper)),
    ];
    files.extend(stimulus_files(design, stimulus));
    if let Some(trace) = expected {
        for (number, (port, file)) in design.outputs.iter().zip(port_files(&design.outputs, "expected")).enumerate() {
            files.push((file, frames_hex(&trace.frames, number, port)));
        }
    }
    files
}

/// The `stimulus_<port>.hex` files.
pub fn stimulus_files(design: &Design, stimulus: &Stimulus) -> Vec<(String, String)> {
    let names = port_files(&design.inputs, "stimulus");
    let files = design.inputs.iter().zip(names).enumerate();
    files.map(|(number, (port, file))| (file, frames_hex(&stimulus.frames, number, port))).collect()
}

fn port_files(ports: &[TopPort], prefix: &str) -> Vec<String> {
    let mut namer = Namer::default();
    ports.iter().map(|port| format!("{prefix}_{}.hex", namer.unique(&port.name))).collect()
}

fn frames_hex(frames: &[Vec<Vec<i32>>], port: usize, of: &TopPort) -> String {
    let elements = frames.iter().filter_map(|frame| frame.get(port)).flatten().map(|&element| i64::from(element));
    hex_file(elements, of.ty.lanes, of.ty.bits)
}

fn wrapper_text(core: &str, wrapper: &str) -> String {
    format!(
        "// {wrapper}: the test bench with a clock, for simulators that take no clock from outside.\n\
         // iverilog -g2005 -o {wrapper} *.v && vvp {wrapper}\n\
         `timescale 1ns/1ps\n\
         module {wrapper};\n    \
             reg clk;\n    \
             initial begin\n        \
                 clk = 1'b0;\n        \
                 forever #5 clk = !clk;\n    \
             end\n    \
             {core} core (.clk(clk));\n\
         endmodule\n"
    )
}

/// Text of one stream's declarations and behaviour.
#[derive(Default)]
struct Parts {
    declarations: String,
    connections: Vec<String>,
    opening: String,
    restart: String,
    step: String,
    checks: String,
    busy: Vec<String>,
    complete: Vec<String>,
}

fn core_text(design: &Design, stimulus: &Stimulus, checked: bool) -> String {
    let (core, _) = testbench_names(design);
    let top = Namer::default().unique(&design.name);
    let (inputs, outputs, _) = top_streams(design);
    let mut parts = Parts::default();
    for (number, (port, stream)) in design.inputs.iter().zip(&inputs).enumerate() {
        source(&mut parts, number as u32, port, stream, &port_files(&design.inputs, "stimulus")[number]);
    }
    for (number, (port, stream)) in design.outputs.iter().zip(&outputs).enumerate() {
        let expected = checked.then(|| port_files(&design.outputs, "expected")[number].clone());
        sink(&mut parts, number as u32, port, stream, expected.as_deref());
    }
    let frames = stimulus.frames.len();
    let seed = stimulus.stall_seed;
    let warm_up = stimulus.reset_after.map_or(-1, |cycles| cycles.min(i32::MAX as u64) as i64);
    let Parts { declarations, connections, opening, restart, step, checks, busy, complete } = parts;
    let connections = connections.join(",\n        ");
    let busy = if busy.is_empty() { "1'b0".to_owned() } else { busy.join(" || ") };
    let complete = if complete.is_empty() { "1'b1".to_owned() } else { complete.join(" && ") };
    let verdict = if checked {
        "if (mismatches == 0 && !frame_error) $display(\"PASS: %0d frames, last beat in cycle %0d\", frames, last_cycle);\n                \
         else $display(\"FAIL: %0d mismatching beats, frame_error %b\", mismatches, frame_error);"
    } else {
        "$display(\"DONE: %0d frames, last beat in cycle %0d\", frames, last_cycle);"
    };
    let mismatches = if checked { "    integer mismatches;\n" } else { "" };
    let no_mismatches = if checked { "        mismatches = 0;\n" } else { "" };
    format!(
        "// {core}: drives {top} with the frames of stimulus_*.hex and writes each beat it answers to trace.txt.\n\
         // Plus arguments: +frames=N, +seed=N (random stalls; 0: none), +reset_after=N (run N cycles, then reset).\n\
         module {core} (\n    input  wire clk\n);\n    \
         reg  rst;\n    wire frame_error;\n    integer frames;\n    integer warm_up;\n    integer trace;\n    integer opened;\n    \
         reg  [31:0] seed;\n    reg  [2:0] resets;\n    reg  warming;\n    reg  started;\n    reg  [63:0] cycle;\n    \
         reg  [63:0] last_cycle;\n    reg  [63:0] idle;\n{mismatches}{declarations}\n    \
         wire transfer = {busy};\n    wire complete = {complete};\n\n    \
         {top} dut (\n        .clk(clk),\n        .rst(rst),\n        {connections},\n        .frame_error(frame_error)\n    );\n\n    \
         // One step of xorshift32.\n    \
         function [31:0] scrambled;\n        input [31:0] state;\n        reg [31:0] word;\n        begin\n            \
         word = state ^ {{state[18:0], 13'd0}};\n            word = word ^ {{17'd0, word[31:17]}};\n            \
         scrambled = word ^ {{word[26:0], 5'd0}};\n        end\n    endfunction\n\n    \
         // Whether a port stalls: three times of eight.\n    \
         function stalls;\n        input [2:0] low;\n        input enabled;\n        begin\n            \
         stalls = enabled && low < 3'd3;\n        end\n    endfunction\n\n    \
         initial begin\n        \
         if (!$value$plusargs(\"frames=%d\", frames)) frames = {frames};\n        \
         if (!$value$plusargs(\"seed=%d\", seed)) seed = 32'd{seed};\n        \
         if (!$value$plusargs(\"reset_after=%d\", warm_up)) warm_up = {warm_up};\n        \
         trace = $fopen(\"trace.txt\", \"w\");\n        opened = 0;\n        rst = 1'b1;\n        resets = 3'd0;\n        \
         warming = warm_up > 0;\n        started = 1'b0;\n        cycle = 64'd0;\n        last_cycle = 64'd0;\n        \
         idle = 64'd0;\n{no_mismatches}{opening}    end\n\n    \
         always @(posedge clk) begin\n        if (rst) begin\n            \
         // Sources and sinks start anew while the design is reset.\n            \
         cycle <= 64'd0;\n            idle <= 64'd0;\n            started <= 1'b0;\n            resets <= resets + 3'd1;\n            \
         rst <= resets != 3'd3;\n{restart}        \
         end else begin\n            \
         cycle <= cycle + 64'd1;\n            idle <= transfer ? 64'd0 : idle + 64'd1;\n{step}{checks}            \
         if (warming && cycle + 64'd1 >= {{32'd0, warm_up}}) begin\n                \
         warming <= 1'b0;\n                rst <= 1'b1;\n                resets <= 3'd0;\n            \
         end else if (!warming && complete) begin\n                \
         $fwrite(trace, \"end %0d %b\\n\", cycle, frame_error);\n                {verdict}\n                \
         $fclose(trace);\n                $finish;\n            \
         end else if (!warming && idle >= 64'd{patience}) begin\n                \
         $fwrite(trace, \"stuck %0d\\n\", cycle);\n                \
         $display(\"FAIL: no transfer for %0d cycles\", idle);\n                \
         $fclose(trace);\n                $finish;\n            end\n        end\n    end\nendmodule\n",
        patience = patience(design),
    )
}

fn connect(parts: &mut Parts, stream: &TopStream) {
    for port in [&stream.data, &stream.valid, &stream.ready, &stream.last] {
        parts.connections.push(format!(".{port}({port})"));
    }
}

fn constants(number: u32) -> u32 {
    // The part of the generator's start that does not depend on the seed, see `Stall`.
    number.wrapping_add(1).wrapping_mul(0x85EB_CA6B)
}

fn generator(parts: &mut Parts, name: &str, number: u32) {
    debug_assert_eq!(
        Stall::of_input(7, number).state,
        (7u32.wrapping_mul(0x9E37_79B9) ^ constants(number)) | 1,
        "invariant: the start of the generator is as in the harness"
    );
    let _ = write!(
        parts.declarations,
        "    reg  [31:0] {name}_random;\n    wire [31:0] {name}_next_random = scrambled({name}_random);\n    \
         wire {name}_stalls = stalls({name}_next_random[2:0], {name}_next_random != 32'd0);\n"
    );
    let _ = writeln!(
        parts.restart,
        "            {name}_random <= seed == 32'd0 ? 32'd0 : (seed * 32'h9e3779b9 ^ 32'h{:08x}) | 32'd1;",
        constants(number)
    );
    let _ = writeln!(parts.step, "            {name}_random <= {name}_next_random;");
}

/// A source: it reads its beats from a file, one ahead.
fn source(parts: &mut Parts, number: u32, port: &TopPort, stream: &TopStream, file: &str) {
    let TopStream { data, valid, ready, last, width } = stream;
    let name = format!("source_{number}");
    let beats = port.beats;
    let _ = write!(
        parts.declarations,
        "\n    reg  [{high}:0] {data};\n    reg  {valid};\n    reg  {last};\n    wire {ready};\n    \
         integer {name}_file;\n    integer {name}_status;\n    reg  [{high}:0] {name}_beat;\n    \
         reg  [63:0] {name}_left;\n    reg  [63:0] {name}_in_frame;\n",
        high = width - 1
    );
    connect(parts, stream);
    let _ = write!(
        parts.opening,
        "        {name}_file = 0;\n        {name}_status = 0;\n        {valid} = 1'b0;\n        {name}_beat = {width}'d0;\n"
    );
    let _ = write!(
        parts.restart,
        "            {valid} <= 1'b0;\n            {last} <= 1'b0;\n            \
         {name}_left <= {{32'd0, frames}} * 64'd{beats};\n            {name}_in_frame <= 64'd0;\n            \
         if (resets == 3'd0) begin\n                if ({name}_file != 0) $fclose({name}_file);\n                \
         {name}_file = $fopen(\"{file}\", \"r\");\n            end\n"
    );
    generator(parts, &name, number);
    let _ = write!(
        parts.step,
        "            if (!{valid} || {ready}) begin\n                \
         {valid} <= {name}_left != 64'd0 && !{name}_stalls;\n                \
         if ({name}_left != 64'd0 && !{name}_stalls) begin\n                    \
         {name}_status = $fscanf({name}_file, \"%h\", {name}_beat);\n                    \
         if ({name}_status != 1) begin\n                        \
         $display(\"FAIL: {file} ends early\");\n                        $finish;\n                    end\n                    \
         {data} <= {name}_beat;\n                    {last} <= {name}_in_frame == 64'd{final_beat};\n                    \
         {name}_in_frame <= {name}_in_frame == 64'd{final_beat} ? 64'd0 : {name}_in_frame + 64'd1;\n                    \
         {name}_left <= {name}_left - 64'd1;\n                end\n            end\n            \
         if ({valid} && {ready} && !started) begin\n                started <= 1'b1;\n                \
         if (!warming) $fwrite(trace, \"first %0d\\n\", cycle);\n            end\n",
        final_beat = beats - 1
    );
    parts.busy.push(format!("{valid} && {ready}"));
}

/// A sink: it writes each beat to the trace, and compares where it knows the answer.
fn sink(parts: &mut Parts, number: u32, port: &TopPort, stream: &TopStream, expected: Option<&str>) {
    let TopStream { data, valid, ready, last, width } = stream;
    let name = format!("sink_{number}");
    let beats = port.beats;
    let _ = write!(
        parts.declarations,
        "\n    wire [{high}:0] {data};\n    wire {valid};\n    wire {last};\n    reg  {ready};\n    \
         reg  [63:0] {name}_left;\n    reg  [63:0] {name}_in_frame;\n",
        high = width - 1
    );
    connect(parts, stream);
    let _ = writeln!(parts.opening, "        {ready} = 1'b0;\n        {name}_left = 64'd1;");
    let _ = write!(
        parts.restart,
        "            {ready} <= 1'b0;\n            {name}_left <= {{32'd0, frames}} * 64'd{beats};\n            \
         {name}_in_frame <= 64'd0;\n"
    );
    generator(parts, &name, 0x100 + number);
    let _ = writeln!(parts.step, "            {ready} <= !{name}_stalls;");
    let mut check = String::new();
    if let Some(file) = expected {
        let _ = write!(
            parts.declarations,
            "    integer {name}_file;\n    integer {name}_status;\n    reg  [{high}:0] {name}_expected;\n",
            high = width - 1
        );
        let _ = writeln!(
            parts.opening,
            "        {name}_file = $fopen(\"{file}\", \"r\");\n        {name}_status = 0;\n        {name}_expected = {width}'d0;"
        );
        let _ = write!(
            check,
            "                    {name}_status = $fscanf({name}_file, \"%h\", {name}_expected);\n                    \
             if ({name}_status != 1 || {data} !== {name}_expected || {last} != ({name}_in_frame == 64'd{final_beat})) begin\n                        \
             mismatches = mismatches + 1;\n                        \
             $display(\"MISMATCH at {port_name} in cycle %0d: %h, expected %h\", cycle, {data}, {name}_expected);\n                    end\n",
            final_beat = beats - 1,
            port_name = port.name
        );
    }
    let _ = write!(
        parts.checks,
        "            if ({valid} && {ready}) begin\n                \
         {name}_left <= {name}_left - 64'd1;\n                \
         {name}_in_frame <= {name}_in_frame == 64'd{final_beat} ? 64'd0 : {name}_in_frame + 64'd1;\n                \
         if (!warming) begin\n                    last_cycle <= cycle;\n                    \
         $fwrite(trace, \"beat {number} %0d %b %h\\n\", cycle, {last}, {data});\n{check}                end\n            end\n",
        final_beat = beats - 1
    );
    parts.busy.push(format!("{valid} && {ready}"));
    parts.complete.push(format!("{name}_left == 64'd0"));
}

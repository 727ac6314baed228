//! The Verilog text of test benches, with `@placeholders@`.

/// Replaces each `@name@`.
pub fn fill(template: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(template.trim_start_matches('\n').to_owned(), |text, (name, value)| {
        text.replace(&format!("@{name}@"), value)
    })
}

/// The text of one stream, by where it belongs in the core.
#[derive(Clone, Copy)]
pub struct Section {
    /// Declarations of the module.
    pub declarations: &'static str,
    /// Statements at the start of the simulation.
    pub opening: &'static str,
    /// Statements at each clock edge in reset.
    pub restart: &'static str,
    /// Statements at each other clock edge.
    pub step: &'static str,
}

/// The clock for simulators that make their own.
pub const WRAPPER: &str = "
// @wrapper@: the test bench with a clock, for simulators that take none from outside:
// iverilog -g2005 -o @wrapper@ *.v && vvp @wrapper@
module @wrapper@;
    reg clk;
    initial begin
        clk = 1'b0;
        forever #5 clk = !clk;
    end
    @core@ core (.clk(clk));
endmodule
";

/// The core.
pub const CORE: &str = "
// @core@: drives @top@ with the frames of stimulus_*.hex and writes each beat it answers to
// trace.txt. Plus arguments: +frames=N, +seed=N (random stalls; 0: none), +reset_after=N (run N
// cycles, reset, and only then run in earnest).
module @core@ (
    input  wire clk
);
    reg  rst;
    reg  [2:0] resets;
    reg  warming;
    reg  started;
    reg  failed;
    reg  [31:0] seed;
    reg  [63:0] cycle;
    reg  [63:0] last_cycle;
    reg  [63:0] idle;
    wire frame_error;
    integer frames;
    integer warm_up;
    integer trace;
@declarations@
    wire transfer = @transfer@;
    wire complete = @complete@;

    @top@ dut (
        .clk(clk),
        .rst(rst),
        @connections@,
        .frame_error(frame_error)
    );

    // One step of xorshift32.
    function [31:0] scrambled;
        input [31:0] state;
        reg [31:0] word;
        begin
            word = state ^ {state[18:0], 13'd0};
            word = word ^ {17'd0, word[31:17]};
            scrambled = word ^ {word[26:0], 5'd0};
        end
    endfunction

    initial begin
        if (!$value$plusargs(\"frames=%d\", frames)) frames = @frames@;
        if (!$value$plusargs(\"seed=%d\", seed)) seed = 32'd@seed@;
        if (!$value$plusargs(\"reset_after=%d\", warm_up)) warm_up = @warm_up@;
        trace = $fopen(\"trace.txt\", \"w\");
        rst = 1'b1;
        resets = 3'd0;
        warming = warm_up > 0;
        started = 1'b0;
        failed = 1'b0;
        cycle = 64'd0;
        last_cycle = 64'd0;
        idle = 64'd0;
@opening@    end

    always @(posedge clk) begin
        if (rst) begin
            // Sources and sinks start anew while the design is reset.
            cycle <= 64'd0;
            idle <= 64'd0;
            started <= 1'b0;
            resets <= resets + 3'd1;
            rst <= resets != 3'd3;
@restart@        end else begin
            cycle <= cycle + 64'd1;
            idle <= transfer ? 64'd0 : idle + 64'd1;
@step@            if (warming && cycle + 64'd1 >= {32'd0, warm_up}) begin
                warming <= 1'b0;
                rst <= 1'b1;
                resets <= 3'd0;
            end else if (!warming && complete) begin
                $fwrite(trace, \"end %0d %b\\n\", cycle, frame_error);
                $fclose(trace);
@verdict@                $finish;
            end else if (!warming && idle >= 64'd@patience@) begin
                $fwrite(trace, \"stuck %0d\\n\", cycle);
                $fclose(trace);
                $display(\"FAIL: no transfer for %0d cycles\", idle);
                $finish;
            end
        end
    end
endmodule
";

/// The memory outside: the port of reads.
pub const OUTSIDE: &str = "
    localparam [31:0] MEMORY_BASE = 32'h@base@;
    wire [31:0] m_axi_araddr;
    wire m_axi_arvalid;
    wire m_axi_arready;
    wire [@data_high@:0] m_axi_rdata;
    wire m_axi_rvalid;
    wire m_axi_rready;
    wire [31:0] read_number = (m_axi_araddr - MEMORY_BASE) >> @shift@;
@writes@    @model@ memory_model (
        .clk(clk),
        .rst(rst),
        .request_tdata(read_number[@number_high@:0]),
        .request_tvalid(m_axi_arvalid),
        .request_tready(m_axi_arready),
@written@        .data_tdata(m_axi_rdata),
        .data_tvalid(m_axi_rvalid),
        .data_tready(m_axi_rready)
    );
";

/// What brings weights.
pub const LOAD: &str = "
    wire [@data_high@:0] load_tdata;
    wire load_tvalid;
    wire load_tready;
    @model@ load_model (
        .clk(clk),
        .rst(rst),
        .data_tdata(load_tdata),
        .data_tvalid(load_tvalid),
        .data_tready(load_tready)
    );
";

/// Its ports of writes.
pub const OUTSIDE_WRITES: &str = "    \
    wire [31:0] m_axi_awaddr;
    wire m_axi_awvalid;
    wire m_axi_awready;
    wire [@data_high@:0] m_axi_wdata;
    wire m_axi_wvalid;
    wire m_axi_wready;
    wire m_axi_bvalid;
    wire m_axi_bready;
    wire [31:0] write_number = (m_axi_awaddr - MEMORY_BASE) >> @shift@;
";

/// Their connections.
pub const OUTSIDE_WRITTEN: &str = "        \
        .write_tdata(write_number[@number_high@:0]),
        .write_tvalid(m_axi_awvalid),
        .write_tready(m_axi_awready),
        .write_data_tdata(m_axi_wdata),
        .write_data_tvalid(m_axi_wvalid),
        .write_data_tready(m_axi_wready),
        .written_tdata(),
        .written_tvalid(m_axi_bvalid),
        .written_tready(m_axi_bready),
";

/// What a test bench with expectations says at the end.
pub const VERDICT: &str = "                \
    if (failed || frame_error) $display(\"FAIL: frame_error %b\", frame_error);
                else $display(\"PASS: %0d frames, last beat in cycle %0d\", frames, last_cycle);
";

/// What one without says.
pub const NO_VERDICT: &str = "                \
    if (failed) $display(\"FAIL\");
                else $display(\"DONE: %0d frames, last beat in cycle %0d\", frames, last_cycle);
";

/// A file of beats that is read from its start after each reset; goes before what reads it.
pub const READER: Section = Section {
    declarations: "
    integer @name@_file;
    task @name@_open;
        begin
            if (@name@_file != 0) $fclose(@name@_file);
            @name@_file = $fopen(\"@file@\", \"r\");
        end
    endtask
",
    opening: "        @name@_file = 0;
",
    restart: "            if (resets == 3'd0) @name@_open;
",
    step: "",
};

/// A source: it offers the beats of a file.
pub const SOURCE: Section = Section {
    declarations: "
    reg  [@high@:0] @data@;
    reg  @valid@;
    reg  @last@;
    wire @ready@;
    reg  [@high@:0] @name@_beat;
    reg  [63:0] @name@_left;
    reg  [63:0] @name@_in_frame;
    reg  [31:0] @name@_random;
    wire [31:0] @name@_next_random = scrambled(@name@_random);
    wire @name@_stalls = @name@_next_random != 32'd0 && @name@_next_random[2:0] < 3'd3;
    task @name@_fetch;
        begin
            if ($fscanf(@name@_file, \"%h\", @name@_beat) != 1) begin
                $display(\"FAIL: @file@ ends early\");
                $finish;
            end
        end
    endtask
",
    opening: "        @name@_beat = @width@'d0;
        @valid@ = 1'b0;
",
    restart: "            @valid@ <= 1'b0;
            @last@ <= 1'b0;
            @name@_left <= {32'd0, frames} * 64'd@beats@;
            @name@_in_frame <= 64'd0;
            @name@_random <= seed == 32'd0 ? 32'd0 : (seed * 32'h9e3779b9 ^ 32'h@start@) | 32'd1;
",
    step: "            @name@_random <= @name@_next_random;
            if (!@valid@ || @ready@) begin
                @valid@ <= @name@_left != 64'd0 && !@name@_stalls;
                if (@name@_left != 64'd0 && !@name@_stalls) begin
                    @name@_fetch;
                    @data@ <= @name@_beat;
                    @last@ <= @name@_in_frame == 64'd@final@;
                    @name@_in_frame <= @name@_in_frame == 64'd@final@ ? 64'd0 : @name@_in_frame + 64'd1;
                    @name@_left <= @name@_left - 64'd1;
                end
            end
            if (@valid@ && @ready@ && !started) begin
                started <= 1'b1;
                if (!warming) $fwrite(trace, \"first %0d\\n\", cycle);
            end
",
};

/// A sink: it writes each beat to the trace.
pub const SINK: Section = Section {
    declarations: "
    wire [@high@:0] @data@;
    wire @valid@;
    wire @last@;
    reg  @ready@;
    reg  [63:0] @name@_left;
    reg  [63:0] @name@_in_frame;
    reg  [31:0] @name@_random;
    wire [31:0] @name@_next_random = scrambled(@name@_random);
    wire @name@_stalls = @name@_next_random != 32'd0 && @name@_next_random[2:0] < 3'd3;
",
    opening: "        @name@_left = 64'd1;
        @ready@ = 1'b0;
",
    restart: "            @ready@ <= 1'b0;
            @name@_left <= {32'd0, frames} * 64'd@beats@;
            @name@_in_frame <= 64'd0;
            @name@_random <= seed == 32'd0 ? 32'd0 : (seed * 32'h9e3779b9 ^ 32'h@start@) | 32'd1;
",
    step: "            @name@_random <= @name@_next_random;
            @ready@ <= !@name@_stalls;
            // A design may answer what follows from no input before it is asked; that is ignored.
            if (@valid@ && @ready@ && @name@_left != 64'd0) begin
                @name@_left <= @name@_left - 64'd1;
                @name@_in_frame <= @name@_in_frame == 64'd@final@ ? 64'd0 : @name@_in_frame + 64'd1;
                if (@last@ != (@name@_in_frame == 64'd@final@)) failed <= 1'b1;
                if (!warming) begin
                    last_cycle <= cycle;
                    $fwrite(trace, \"beat @number@ %0d %b %h\\n\", cycle, @last@, @data@);
                end
            end
",
};

/// The comparison of a sink's beats with a file.
pub const SINK_CHECK: Section = Section {
    declarations: "    reg  [@high@:0] @name@_expected;
    task @name@_check;
        begin
            if ($fscanf(@name@_file, \"%h\", @name@_expected) != 1) begin
                failed <= 1'b1;
                $display(\"FAIL: @file@ ends early\");
            end else if (@data@ !== @name@_expected) begin
                failed <= 1'b1;
                $display(\"MISMATCH at @port@ in cycle %0d: %h, expected %h\", cycle, @data@, @name@_expected);
            end
        end
    endtask
",
    opening: "        @name@_expected = @width@'d0;
",
    restart: "",
    step: "            if (@valid@ && @ready@ && @name@_left != 64'd0 && !warming) @name@_check;
",
};

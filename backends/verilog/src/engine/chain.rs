//! Hardware multipliers that add their products in a chain, without logic: a cell of the family for synthesis, and what
//! it does for simulation.

use crate::Files;
use lutweave_hw::family::ChainCell;

/// A sum of a few products.
#[derive(Clone, Copy)]
pub struct Chain {
    /// Products.
    pub length: u32,
    /// Products of the longest chain beside it, with which it keeps pace.
    pub longest: u32,
    /// Signed bits of the factors, those for the wider and the narrower port.
    pub factors: [u32; 2],
    /// Bits of the sum that are of interest.
    pub sum: u32,
}

/// Bits of the cells' port for the wider factor.
const WIDE_PORT: u32 = 30;

/// Bits of the cells' port for the narrower factor.
const NARROW_PORT: u32 = 18;

/// Bits of the cells' adders.
const ADDER: u32 = 48;

impl Chain {
    /// Emits its module, unless it is there; the name. Ports: `clk`, `wide` and `narrow` with the factors of all
    /// products, the first in the lowest bits, and `sum`, `longest + 1` cycles later.
    pub fn emit(&self, cell: ChainCell, files: &mut Files) -> String {
        let Self { length, longest, factors: [wide, narrow], sum } = *self;
        let name = format!("chain_{length}of{longest}_{wide}x{narrow}_to_{sum}");
        files.text(&name, || self.text(&name, cell));
        name
    }

    fn text(&self, name: &str, cell: ChainCell) -> String {
        let Self { length, longest, factors: [wide, narrow], sum } = *self;
        let each = |part: fn(&Self, u32, ChainCell) -> String| -> String {
            (0..length).map(|index| part(self, index, cell)).collect()
        };
        let last = length - 1;
        format!(
            "// {name}: the sum of {length} product(s) of {wide} by {narrow} bits, {} cycles after the factors.\n\
             // Synthesis takes it for {cell}s, which add in a chain; what simulation runs instead is equal.\n\
             module {name} (\n    input  wire clk,\n    input  wire [{}:0] wide,\n    input  wire [{}:0] narrow,\n    \
             output wire [{}:0] sum\n);\n`ifdef SYNTHESIS\n{}    assign sum = total_{last}[{}:0];\n`else\n{}    \
             assign sum = total_{last}[{}:0];\n\n    // Bits that nothing reads.\n    \
             wire unused = &{{1'b0, total_{last}[{}:{sum}]}};\n`endif\nendmodule\n",
            longest + 1,
            length * wide - 1,
            length * narrow - 1,
            sum - 1,
            each(Self::instance),
            sum - 1,
            each(Self::behaviour),
            sum - 1,
            ADDER - 1,
        )
    }

    /// Cycles that the factors of a product wait, until the sum of those before it is there.
    fn late(&self, index: u32) -> u32 {
        index + self.longest - self.length
    }

    /// A factor of a product in the bus of all.
    fn factor(&self, port: usize, index: u32) -> (String, String) {
        let (bus, bits) = (["wide", "narrow"][port], self.factors[port]);
        let (low, high) = (index * bits, (index + 1) * bits - 1);
        (format!("{bus}[{high}:{low}]"), format!("{bus}[{high}]"))
    }

    fn instance(&self, index: u32, cell: ChainCell) -> String {
        let late = self.late(index);
        let port = |port: usize, width: u32| {
            let (value, sign) = self.factor(port, index);
            match width - self.factors[port] {
                0 => value,
                more => format!("{{{{{more}{{{sign}}}}}, {value}}}"),
            }
        };
        let (wide, narrow) = (port(0, WIDE_PORT), port(1, NARROW_PORT));
        let (adds, before) =
            if index == 0 { ("000", format!("{ADDER}'d0")) } else { ("001", format!("cascade_{}", index - 1)) };
        // Yosys looks for all outputs of the older cell.
        let top = ADDER - 1;
        let declared = format!("    wire [{top}:0] total_{index};\n    wire [{top}:0] cascade_{index};\n");
        let output = format!(".P(total_{index}), .PCOUT(cascade_{index})");
        let (d_bits, mode) = match cell {
            ChainCell::Dsp48e1 => (25, format!("7'b{adds}0101")),
            ChainCell::Dsp48e2 => (27, format!("9'b00{adds}0101")),
        };
        format!(
            "{declared}    {cell} #(\n        .AREG({late}), .ACASCREG({late}), .BREG({late}), .BCASCREG({late}), \
             .MREG(1), .PREG(1),\n        .ADREG(0), .CREG(0), .DREG(0), .ALUMODEREG(0), .CARRYINREG(0), \
             .CARRYINSELREG(0), .INMODEREG(0), .OPMODEREG(0)\n    ) product_{index} (\n        .CLK(clk), \
             .A({wide}), .B({narrow}), .C({ADDER}'d0), .D({d_bits}'d0), .PCIN({before}), {output},\n        \
             .OPMODE({mode}), .ALUMODE(4'd0), .INMODE(5'd0), .CARRYIN(1'b0), .CARRYINSEL(3'd0),\n        \
             .ACIN({WIDE_PORT}'d0), .BCIN({NARROW_PORT}'d0), .CARRYCASCIN(1'b0), .MULTSIGNIN(1'b0),\n        \
             .CEA1(1'b1), .CEA2(1'b1), .CEB1(1'b1), .CEB2(1'b1), .CEM(1'b1), .CEP(1'b1), .CEAD(1'b0), .CEC(1'b0), \
             .CED(1'b0),\n        .CEALUMODE(1'b0), .CECARRYIN(1'b0), .CECTRL(1'b0), .CEINMODE(1'b0),\n        \
             .RSTA(1'b0), .RSTB(1'b0), .RSTC(1'b0), .RSTD(1'b0), .RSTM(1'b0), .RSTP(1'b0), .RSTALUMODE(1'b0),\n        \
             .RSTALLCARRYIN(1'b0), .RSTCTRL(1'b0), .RSTINMODE(1'b0)\n    );\n"
        )
    }

    fn behaviour(&self, index: u32, _: ChainCell) -> String {
        let bits = self.factors[0] + self.factors[1];
        let (mut declared, mut clocked, mut values) = (String::new(), String::new(), Vec::new());
        for port in 0..2 {
            let (bus, top) = (["wide", "narrow"][port], self.factors[port] - 1);
            let mut value = format!("$signed({})", self.factor(port, index).0);
            for cycle in 1..=self.late(index) {
                let register = format!("{bus}_{index}_{cycle}");
                declared += &format!("    reg  signed [{top}:0] {register};\n");
                clocked += &format!("        {register} <= {value};\n");
                value = register;
            }
            values.push(value);
        }
        let more = ADDER - bits;
        let extended = format!("{{{{{more}{{product_{index}[{}]}}}}, product_{index}}}", bits - 1);
        let sum = if index == 0 { extended } else { format!("total_{} + {extended}", index - 1) };
        format!(
            "{declared}    reg  signed [{}:0] product_{index};\n    reg  [{}:0] total_{index};\n    \
             always @(posedge clk) begin\n{clocked}        product_{index} <= {} * {};\n        \
             total_{index} <= {sum};\n    end\n",
            bits - 1,
            ADDER - 1,
            values[0],
            values[1],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lutweave_testing::tools;
    use std::process::Command;

    /// The models of the maker's cells that come with Yosys.
    const CELLS: &str = "/usr/share/yosys/xilinx/cells_sim.v";

    /// The newer cell differs from the older one in widths alone, as far as it is used.
    const NEWER: &str = "
module DSP48E2 #(
    parameter AREG = 1, ACASCREG = 1, BREG = 1, BCASCREG = 1, MREG = 1, PREG = 1, ADREG = 1, CREG = 1, DREG = 1,
    parameter ALUMODEREG = 1, CARRYINREG = 1, CARRYINSELREG = 1, INMODEREG = 1, OPMODEREG = 1
) (
    input CLK, input [29:0] A, input [17:0] B, input [47:0] C, input [26:0] D, input [47:0] PCIN,
    output [47:0] P, output [47:0] PCOUT, input [8:0] OPMODE, input [3:0] ALUMODE, input [4:0] INMODE,
    input CARRYIN, input [2:0] CARRYINSEL, input [29:0] ACIN, input [17:0] BCIN, input CARRYCASCIN, MULTSIGNIN,
    input CEA1, CEA2, CEB1, CEB2, CEM, CEP, CEAD, CEC, CED, CEALUMODE, CECARRYIN, CECTRL, CEINMODE,
    input RSTA, RSTB, RSTC, RSTD, RSTM, RSTP, RSTALUMODE, RSTALLCARRYIN, RSTCTRL, RSTINMODE
);
    DSP48E1 #(
        .AREG(AREG), .ACASCREG(ACASCREG), .BREG(BREG), .BCASCREG(BCASCREG), .MREG(MREG), .PREG(PREG), .ADREG(ADREG),
        .CREG(CREG), .DREG(DREG), .ALUMODEREG(ALUMODEREG), .CARRYINREG(CARRYINREG), .CARRYINSELREG(CARRYINSELREG),
        .INMODEREG(INMODEREG), .OPMODEREG(OPMODEREG)
    ) older (
        .CLK(CLK), .A(A), .B(B), .C(C), .D(D[24:0]), .PCIN(PCIN), .P(P), .PCOUT(PCOUT), .OPMODE(OPMODE[6:0]),
        .ALUMODE(ALUMODE), .INMODE(INMODE), .CARRYIN(CARRYIN), .CARRYINSEL(CARRYINSEL), .ACIN(ACIN), .BCIN(BCIN),
        .CARRYCASCIN(CARRYCASCIN), .MULTSIGNIN(MULTSIGNIN), .CEA1(CEA1), .CEA2(CEA2), .CEB1(CEB1), .CEB2(CEB2),
        .CEM(CEM), .CEP(CEP), .CEAD(CEAD), .CEC(CEC), .CED(CED), .CEALUMODE(CEALUMODE), .CECARRYIN(CECARRYIN),
        .CECTRL(CECTRL), .CEINMODE(CEINMODE), .RSTA(RSTA), .RSTB(RSTB), .RSTC(RSTC), .RSTD(RSTD), .RSTM(RSTM),
        .RSTP(RSTP), .RSTALUMODE(RSTALUMODE), .RSTALLCARRYIN(RSTALLCARRYIN), .RSTCTRL(RSTCTRL),
        .RSTINMODE(RSTINMODE)
    );
endmodule
";

    /// Random factors through the cells and through what simulation runs instead.
    fn bench(chain: &Chain, cell: ChainCell) -> String {
        let Chain { length, factors: [wide, narrow], sum, .. } = *chain;
        let (wide, narrow) = (length * wide, length * narrow);
        let cells = format!("`define SYNTHESIS\n{}`undef SYNTHESIS\n", chain.text("cells", cell));
        let model = chain.text("model", cell);
        format!(
            "{cells}{model}{}\nmodule bench;\n    reg clk = 0;\n    always #500 clk = !clk;\n    \
             reg [{}:0] wide = 0;\n    reg [{}:0] narrow = 0;\n    wire [{}:0] of_cells, of_model;\n    \
             cells cells(.clk(clk), .wide(wide), .narrow(narrow), .sum(of_cells));\n    \
             model model(.clk(clk), .wide(wide), .narrow(narrow), .sum(of_model));\n    \
             integer i, wrong = 0;\n    initial begin\n        for (i = 0; i < 400; i = i + 1) begin\n            \
             @(negedge clk);\n            if (i > 8 && of_cells !== of_model) wrong = wrong + 1;\n            \
             wide = {{$random, $random, $random}};\n            narrow = {{$random, $random}};\n            \
             if (i % 7 == 0) wide = {{{wide}{{1'b1}}}};\n        end\n        \
             $display(\"wrong %0d, sum %0d\", wrong, of_model);\n        $finish;\n    end\nendmodule\n",
            if cell == ChainCell::Dsp48e2 { NEWER } else { "" },
            wide - 1,
            narrow - 1,
            sum - 1,
        )
    }

    #[test]
    fn cells_do_what_simulation_runs_instead() {
        if !(tools::icarus() && tools::yosys()) {
            return;
        }
        let folder = tempfile::tempdir().expect("a directory");
        for cell in [ChainCell::Dsp48e1, ChainCell::Dsp48e2] {
            for (length, longest) in [(1, 2), (2, 2), (1, 3), (2, 3), (3, 3)] {
                for factors in [[25, 18], [25, 8], [8, 8], [9, 4]] {
                    let chain = Chain { length, longest, factors, sum: (factors[0] + factors[1] + 2).min(40) };
                    let (file, program) = (folder.path().join("bench.v"), folder.path().join("bench"));
                    std::fs::write(&file, bench(&chain, cell)).expect("a written file");
                    let compiled = Command::new("iverilog")
                        .args(["-g2005", "-s", "bench", "-o"])
                        .args([&program, &file])
                        .arg(CELLS)
                        .output()
                        .expect("an installed program");
                    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
                    let run = Command::new("vvp").arg(&program).output().expect("an installed program");
                    let text = String::from_utf8_lossy(&run.stdout);
                    assert!(
                        text.starts_with("wrong 0, sum ") && !text.contains('x'),
                        "{cell} {length} {factors:?}: {text}"
                    );
                }
            }
        }
    }
}

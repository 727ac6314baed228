"""Names that ONNX files have: plain ones, exporters' paths, and ones that trip tools up."""

VERILOG = (
    "module endmodule wire reg input output inout always initial begin end assign case endcase for "
    "if else function task signed integer parameter generate genvar or and not buf clk rst"
).split()
PLAIN = ["conv", "x", "y", "hidden", "act", "pool", "fc", "t", "feature", "out"]


class Names:
    """Draws names that have not been used in this model."""

    def __init__(self, rng):
        self.rng = rng
        self.odd = rng.random() < 0.5
        self.used = set()

    def fresh(self, what=""):
        """A new name; `what` is a hint that plain names begin with."""
        name = self._draw(what)
        while name in self.used:
            name = f"{name}_{len(self.used)}"
        self.used.add(name)
        return name

    def _draw(self, what):
        rng, number = self.rng, len(self.used)
        plain = f"{what or rng.choice(PLAIN)}{number}"
        if not self.odd:
            return plain
        return rng.choice(
            [
                plain,
                plain,
                f"/model/layer.{number}/{plain}/{plain}_output_0",
                f"{plain}:0",
                f"{plain}.weight",
                f"onnx::{plain}_{number}",
                f"{number}",
                rng.choice(VERILOG),
                rng.choice(VERILOG).upper(),
                f"block-{number}/{plain}",
                f"{plain}.npy" if rng.random() < 0.3 else f"{plain}.out",
                f"../{plain}",
                f"größe {plain}" if rng.random() < 0.3 else f"_{plain}",
                "deep/" * 40 + plain if rng.random() < 0.2 else f"{plain}__{number}",
                # Equal to another one but for case or punctuation.
                *(self._near() if self.used else []),
            ]
        )

    def _near(self):
        other = self.rng.choice(sorted(self.used))
        return [other.swapcase(), other.replace("/", "_").replace(".", "_").replace(":", "_")]

"""Counts, the table by operator, and the kept cases."""

from collections import Counter, defaultdict

from . import archive, reference
from .compare import VERDICTS, joined
from .shrink import outline

CATEGORIES = VERDICTS[::-1]


class Tally:
    """Outcomes of all cases so far."""

    def __init__(self):
        self.categories = Counter()
        self.flavours = defaultdict(Counter)
        self.operators = defaultdict(Counter)
        self.blamed = Counter()
        self.codes = Counter()
        self.needless = 0
        self.largest = 0.0
        self.failures = []

    def add(self, result):
        """Counts a case's result."""
        category = result["category"]
        self.categories[category] += 1
        self.flavours[result["flavour"]][category] += 1
        for operator in result["operators"]:
            self.operators[operator][category] += 1
        for code, operator in result["codes"]:
            self.codes[f"{category}: {code}"] += 1
            if category in ("refused", "warned"):
                self.blamed[operator or "?"] += 1
        if category == "right":
            self.needless += bool(result["codes"])
            self.largest = max(self.largest, result["error"])
        if result["failure"]:
            self.failures.append({key: result[key] for key in ("seed", "failure", "detail")})

    @property
    def total(self):
        return self.categories.total()

    def line(self):
        """The last line of a run."""
        parts = ", ".join(f"{self.categories[category]} {category}" for category in CATEGORIES)
        return f"{self.total} models: {parts}"

    def as_json(self):
        """Everything, for machines."""
        return {
            "models": self.total,
            "categories": {category: self.categories[category] for category in CATEGORIES},
            "flavours": {name: dict(counts) for name, counts in sorted(self.flavours.items())},
            "operators": {name: dict(counts) for name, counts in sorted(self.operators.items())},
            "codes": dict(self.codes.most_common()),
            "blamed": dict(self.blamed.most_common()),
            "right_but_warned": self.needless,
            "largest_error_of_right": self.largest,
            "failures": self.failures,
        }

    def table(self, arguments):
        """The page for the docs."""
        lines = [
            "# Differential test against onnxruntime",
            "",
            f"Made by `scripts/differential --models {arguments.models} --seed {arguments.seed} --table FILE`.",
            "A model counts once for each of its operators.",
            "",
            f"**{self.line()}**",
            "",
        ]
        lines += rows("model", self.flavours) + [""] + rows("operator", self.operators)
        lines += ["", "Where onnxruntime deviates from the ONNX standard, the standard counts:", ""]
        for deviation in reference.DEVIATIONS:
            lines.append("* " + " ".join(deviation.__doc__.split()))
        return "\n".join(lines) + "\n"


def rows(title, counts):
    """A markdown table of categories."""
    head = f"| {title} | models | " + " | ".join(CATEGORIES) + " |"
    lines = [head, "|---" + "|---:" * (1 + len(CATEGORIES)) + "|"]
    for name, found in sorted(counts.items()):
        cells = [found.total()] + [found[category] for category in CATEGORIES]
        lines.append(f"| {name} | " + " | ".join(map(str, cells)) + " |")
    return lines


def keep(folder, model, feeds, notes):
    """Writes a case for later: the model, its inputs, what is expected, and notes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    archive.write(folder / "inputs.npz", joined(feeds))
    archive.write(folder / "expected.npz", joined(reference.run(model, feeds)))
    (folder / "notes.txt").write_text(notes + "\n\n" + outline(model))

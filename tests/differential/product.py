"""Drives the lutweave binary: a model as it came, and the compiled circuit."""

import json
import os
import re
import subprocess
from dataclasses import dataclass, field

from . import archive

TIMEOUT = 60

# Codes of diagnostics that are faults of the compiler, not refusals.
OUR_FAULT = {"internal", "internal-error", "invalid-graph"}

# Codes that blame the file or the samples, which are valid.
FALSE_BLAME = {
    "bad-data",
    "duplicate-value",
    "file",
    "invalid-constant",
    "invalid-input",
    "invalid-node",
    "invalid-operands",
    "malformed-file",
    "missing-value",
    "too-large",
}


@dataclass
class Answer:
    """What a command said: `status` is `done`, `refused`, `wrong` (it blames a valid file) or
    `crashed`."""

    status: str
    text: str = ""
    report: dict = field(default_factory=dict)
    # Code and operator of each error.
    errors: list = field(default_factory=list)
    outputs: dict = field(default_factory=dict)

    @property
    def warnings(self):
        return self.report.get("warnings", [])


class Product:
    """The binary at a path, working in a folder of its own."""

    def __init__(self, binary, folder):
        self.binary = str(binary)
        self.folder = folder
        self.environment = {**os.environ, "RAYON_NUM_THREADS": "1", "LUTWEAVE_CACHE": "", "NO_COLOR": "1"}

    def call(self, *arguments):
        """One command with `--json`."""
        command = [self.binary, *map(str, arguments), "--json"]
        try:
            result = subprocess.run(
                command, cwd=self.folder, env=self.environment, capture_output=True, timeout=TIMEOUT, text=True,
                errors="replace", stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Answer("crashed", f"no answer within {TIMEOUT} s", errors=[("timeout", "")])
        return judge(result)

    def run_model(self, model, inputs):
        """The model as it came, in the interpreter."""
        return self._run([model], inputs)

    def run_circuit(self, model, calibration, inputs):
        """Compiles the model, then runs the circuit's graph in the interpreter."""
        compiled = self.call(
            "compile", model, "--calibration", calibration, "--ranges", "min-max", "--no-verify", "-o", "build"
        )
        if compiled.status != "done":
            return compiled
        answer = self._run(["build", "--executor", "interpreter"], inputs)
        answer.report.setdefault("warnings", []).extend(compiled.warnings)
        return answer

    def _run(self, what, inputs):
        target = self.folder / "outputs.npz"
        target.unlink(missing_ok=True)
        answer = self.call("run", *what, "--input", inputs, "-o", target)
        if answer.status == "done":
            answer.outputs = archive.read(target)
        return answer


def judge(result):
    """The answer that exit status and text amount to."""
    text = result.stderr + result.stdout
    try:
        report = json.loads(result.stdout) if result.stdout.strip() else {}
    except json.JSONDecodeError:
        return Answer("crashed", f"no JSON on standard output:\n{text}", errors=[("no-json", "")])
    if result.returncode == 0:
        return Answer("done", text, report)
    errors = diagnosed(report, result.stderr)
    codes = {code for code, _ in errors}
    panic = re.search(r"panicked at ([^\s:]+:\d+)", text)
    if panic or result.returncode != 1 or not errors:
        kind = f"panic at {panic[1]}" if panic else f"exit {result.returncode}"
        return Answer("crashed", f"exit {result.returncode}\n{text}", report, [(kind, "")])
    status = "crashed" if codes & OUR_FAULT else "wrong" if codes & FALSE_BLAME else "refused"
    return Answer(status, text, report, errors)


def diagnosed(report, stderr):
    """Code and operator of each error, from the JSON object or else from standard error."""
    found = report.get("errors")
    if found:
        return [(one["code"], one["operator"]) for one in found]
    return re.findall(r"^([a-z]+(?:-[a-z]+)*)\n\s+×(?:.*?\((\w+)\))?", stderr, re.MULTILINE)

"""Small cases that are right, together with every operator: seeds for damaged files, and tests of files."""

from . import generate, report
from .check import Checker

# Largest model that is worth keeping in a repository.
BYTES = 3000


def export(binary, folder, scratch, seed, wanted):
    """Writes cases until no operator was new for long, or `wanted` are there."""
    check = Checker(binary, scratch, True)
    seen, idle, written = set(), 0, 0
    while written < wanted and idle < 400:
        seed += 1
        case = generate.case(seed)
        new = {(operator, case.flavour) for operator in case.operators} - seen
        small = len(case.model.SerializeToString()) <= BYTES and not case.external
        if not new or not small:
            idle += 1
            continue
        outcome = check.check(case.model, case.feeds, case.external, expected=case.expected)
        if outcome.verdict.category != "right":
            idle += 1
            continue
        seen |= new
        idle, written = 0, written + 1
        report.keep(folder / f"random-{seed}", case.model, case.feeds, f"seed {case.seed}, {case.flavour}")
    return written

"""Runs cases in several processes: drawn, checked, shrunk, counted."""

import json
import multiprocessing
import multiprocessing.util
import os
import shutil
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor

from . import generate, report, shrink
from .check import Checker


def worker(arguments):
    """Sets up a process."""
    global CHECK, ARGUMENTS
    ARGUMENTS = arguments
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    scratch = tempfile.mkdtemp(prefix="differential-", dir=memory)
    multiprocessing.util.Finalize(None, shutil.rmtree, args=(scratch, True), exitpriority=1)
    CHECK = Checker(arguments.binary.resolve(), scratch, not arguments.circuit_only)


def handle(seed):
    """One case: drawn, checked, and shrunk and kept if it fails. The result is plain data."""
    try:
        case = generate.case(seed)
        outcome = CHECK.check(case.model, case.feeds, case.external, expected=case.expected)
        verdict = outcome.verdict
        kept = verdict.fails or (ARGUMENTS.keep_warned and verdict.category == "warned")
        if kept and ARGUMENTS.keep:
            keep(case, outcome)
    except Exception as error:  # The seed is what helps; it is not in the original.
        raise RuntimeError(f"seed {seed}: {error}\n{traceback.format_exc()}") from error
    return {
        "seed": seed,
        "flavour": case.flavour,
        "operators": case.operators,
        "category": verdict.category,
        "codes": [code for found in outcome.verdicts.values() for code in found.codes],
        "detail": verdict.detail,
        "error": max(found.error for found in outcome.verdicts.values()),
        "failure": outcome.failure,
    }


def keep(case, outcome):
    """Shrinks a failing case and writes it and the original."""
    folder = ARGUMENTS.keep / str(case.seed)
    notes = "\n".join(f"{what}: {v.category} {v.kind}\n{v.detail}" for what, v in outcome.verdicts.items())
    notes = f"seed {case.seed}, {case.flavour}\n{notes}"
    report.keep(folder / "original", case.model, case.feeds, notes)
    if outcome.failure is None:
        return

    def fails(model, feeds):
        return CHECK.check(model, feeds, case.external, outcome.failure[0]).failure == outcome.failure

    shrinker = shrink.Shrinker(case.model, case.feeds, fails, ARGUMENTS.shrink_seconds)
    model, feeds = shrinker.run()
    found = CHECK.check(model, feeds, case.external, outcome.failure[0]).verdict
    report.keep(folder, model, feeds, f"{notes}\n\nshrunk: {outcome.failure[0]}: {found.kind}\n{found.detail}")


def one(arguments):
    """A single case in words."""
    worker(arguments)
    case = generate.case(arguments.case)
    print(shrink.outline(case.model))
    outcome = CHECK.check(case.model, case.feeds, case.external, expected=case.expected)
    for what, verdict in outcome.verdicts.items():
        print(f"{what}: {verdict.category} {verdict.kind} (error {verdict.error:.4g})\n{verdict.detail}")
        print("".join(f"  {code} {operator}\n" for code, operator in verdict.codes), end="")
    if outcome.failure and arguments.keep:
        keep(case, outcome)
    return 1 if outcome.failure else 0


def many(arguments):
    """A run: prints failures as they come and the counts at the end."""
    tally = report.Tally()
    seeds = [generate.case_seed(arguments.seed, index) for index in range(arguments.models)]
    start = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.jobs, context, worker, (arguments,)) as pool:
        for result in pool.map(handle, seeds, chunksize=4):
            tally.add(result)
            if result["failure"]:
                what, category, kind = result["failure"]
                print(f"seed {result['seed']}: {what} {category}: {kind}: {gist(result['detail'])}", flush=True)
    if arguments.table:
        arguments.table.write_text(tally.table(arguments))
    if arguments.json:
        arguments.json.write_text(json.dumps(tally.as_json(), indent=1) + "\n")
    print(f"{arguments.models / (time.monotonic() - start):.1f} models per second, seed {arguments.seed}")
    print(tally.line())
    return 1 if tally.failures else 0


def gist(detail):
    """The line of a longer text that says most."""
    lines = [line.strip() for line in detail.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith("×") or "panicked" in line]
    return (telling or lines or [""])[0]

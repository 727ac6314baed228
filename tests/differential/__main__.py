"""The command line."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import differential

from . import examples, run


def parse():
    """Arguments."""
    parser = argparse.ArgumentParser(prog="scripts/differential", description=differential.__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--models", type=int, default=200, help="how many models (200)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the whole run (1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--case", type=int, metavar="SEED", help="one case by its own seed, in words")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where failing cases go, shrunk")
    parser.add_argument("--keep-warned", action="store_true", help="keep cases of the category `warned`, too")
    parser.add_argument("--shrink-seconds", type=float, default=30, help="time to shrink each failing case (30)")
    parser.add_argument("--table", type=Path, metavar="FILE.md", help="write categories by operator")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a summary")
    parser.add_argument("--binary", type=Path, required=True, help="the lutweave binary")
    parser.add_argument("--circuit-only", action="store_true", help="do not run the model as it came")
    parser.add_argument("--examples", type=Path, metavar="DIR", help="write small right cases of every operator")
    return parser.parse_args()


def main():
    """Entry point."""
    arguments = parse()
    if not os.access(arguments.binary, os.X_OK):
        sys.exit(f"differential: {arguments.binary} is not there: cargo build --release")
    if arguments.examples:
        with tempfile.TemporaryDirectory() as scratch:
            binary = arguments.binary.resolve()
            written = examples.export(binary, arguments.examples, scratch, arguments.seed, arguments.models)
        print(f"{written} cases")
        return
    sys.exit(run.one(arguments) if arguments.case is not None else run.many(arguments))


if __name__ == "__main__":
    main()

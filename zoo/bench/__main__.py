"""python -m zoo.bench NAME [SETTING=VALUE ...] --json FILE"""

from __future__ import annotations

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from zoo import bench
from zoo.bench.measure import ROUNDS
from zoo.device import describe, versions
from zoo.errors import InputError
from zoo.files import write_text
from zoo.files.own_files import check_new
from zoo.messages import failed

CASES = (
    "attribution",
    "classify",
    "costs",
    "crf",
    "generate",
    "installed",
    "labels",
    "langid",
    "lstm",
    "processes",
    "runtime",
    "serve",
    "tag",
    "threads",
    "translate",
)  # a module and a function of this name each


def main(arguments: list[str] | None = None) -> int:
    """Run one benchmark and return the exit status: 0, or 2 after one line on standard error."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["gpu"]:  # it has options of its own
        from zoo.bench.gpu.command import main as gpu

        return gpu(given[1:])
    parser = argparse.ArgumentParser(
        "python -m zoo.bench",
        description=(bench.__doc__ or "").split("\n")[0],
        epilog="python -m zoo.bench gpu --help: all of it on a GPU, within a given time",
    )
    parser.add_argument("name", choices=CASES, help="what is measured")
    parser.add_argument("settings", nargs="*", help="as for zoo.run: data=imdb data.path=FOLDER")
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"median of so many ({ROUNDS})")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier figures")
    chosen = parser.parse_args(given)
    try:
        if chosen.json is not None:
            check_new(chosen.json, chosen.overwrite, "--overwrite")
        measure = getattr(import_module(f"zoo.bench.{chosen.name}"), chosen.name)
        cases = []
        for case in measure(chosen.settings, max(1, chosen.rounds)):
            print(_line(case))
            cases.append(case)
        if chosen.json is not None:
            measured = {
                "machine": describe(),
                "versions": versions(),
                "cases": cases,
            }
            write_text(chosen.json, json.dumps(measured, indent=1) + "\n")
    except (InputError, OSError) as error:
        return failed(error)
    return 0


def _line(case: dict[str, Any]) -> str:
    """Return the line that is printed for a case."""
    if "slopes" in case:
        sizes = [
            f"{size:,} {seconds:.4f}"
            for size, seconds in zip(case["sizes"], case["seconds"], strict=True)
        ]
        return f"{case['name']}: {', '.join(sizes)} s; slopes {', '.join(map(str, case['slopes']))}"
    digits = 0 if min(case["ours"], case["peer"]) > 10 else 4
    rates = f"{case['ours']:,.{digits}f} against {case['peer']:,.{digits}f} {case['unit']}"
    line = f"{case['name']}: {rates}, {case['ratio']:.2f}x"
    if "matrix_product_share" in case:
        line += f", {case['matrix_product_share']:.0%} of the matrix product's rate"
    if "wrong" in case:
        line += f", {case['wrong']} of {case['requests']:,} answers wrong, p99 {case['p99']:.3f} s"
        line += f", memory {', '.join(f'{size:.0f}' for size in case['memory'])} MiB"
    return line


if __name__ == "__main__":
    sys.exit(main())

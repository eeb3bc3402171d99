"""python -m zoo.bench NAME [SETTING=VALUE ...] --json FILE"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from zoo import bench, checkpoint, machine
from zoo.bench import classify, generate, labels, lstm, tag, translate
from zoo.bench.measure import ROUNDS
from zoo.errors import InputError

Cases = Callable[[Sequence[str], int], list[dict[str, Any]]]
CASES: dict[str, Cases] = {
    "classify": classify.classify,
    "generate": generate.generate,
    "labels": labels.labels,
    "lstm": lstm.lstm,
    "tag": tag.tag,
    "translate": translate.translate,
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "python -m zoo.bench", description=(bench.__doc__ or "").split("\n")[0]
    )
    parser.add_argument("name", choices=CASES, help="what is measured")
    parser.add_argument("settings", nargs="*", help="as for zoo.run: data=imdb data.path=FOLDER")
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"median of so many ({ROUNDS})")
    chosen = parser.parse_args(arguments)
    try:
        cases = CASES[chosen.name](chosen.settings, max(1, chosen.rounds))
        for case in cases:
            print(_line(case))
        if chosen.json is not None:
            measured = {
                "machine": machine.describe(), "versions": machine.versions(), "cases": cases,
            }  # fmt: skip
            checkpoint.write_text(chosen.json, json.dumps(measured, indent=1) + "\n")
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _line(case: dict[str, Any]) -> str:
    digits = 0 if min(case["ours"], case["peer"]) > 10 else 4
    rates = f"{case['ours']:,.{digits}f} against {case['peer']:,.{digits}f} {case['unit']}"
    line = f"{case['name']}: {rates}, {case['ratio']:.2f}x"
    if "matrix_product_share" in case:
        line += f", {case['matrix_product_share']:.0%} of the matrix product's rate"
    return line


if __name__ == "__main__":
    sys.exit(main())

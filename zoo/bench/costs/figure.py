"""The figure of the costs: a panel for what grows, logarithmic axes, a slope beside each line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.evaluation.plots import new_grid, save_figure

UNITS = {"rows": "rows", "units": "units of the LSTM", "time": "steps", "labels": "labels"}


def draw(cases: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the lines of all cases into a PNG file.

    The legend states each line's slope between its two largest sizes.
    """
    panels = [*dict.fromkeys(case["name"].split(": ")[0] for case in cases)]
    figure, axes = new_grid(10, 7.5, -(-len(panels) // 2), 2)
    for panel, own in zip(panels, axes.flat, strict=False):
        for case in cases:
            grows, line = case["name"].split(": ")
            if grows == panel:
                label = f"{line}: slope {case['slopes'][-1]:.2f} at the end"
                own.loglog(case["sizes"], case["seconds"], marker="o", label=label)
        _guide(own)
        own.set_xlabel(UNITS.get(panel, panel))
        own.set_ylabel("seconds of one core")
        own.grid(True, which="major", alpha=0.3)
        own.legend(fontsize=8)
    for own in axes.flat[len(panels) :]:
        own.set_visible(False)
    save_figure(figure, path)


def _guide(axes: Any) -> None:
    """Draw a dotted line of slope 1 from the lower left corner."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    end = min(right, left * high / low)
    axes.plot([left, end], [low, low * end / left], ":", color="grey", label="slope 1")
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)

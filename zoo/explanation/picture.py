"""An explanation as a picture: what each token adds, and the LSTM's tensors below."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zoo.evaluation import plots

WAYS = {"forward": "tab:blue", "backward": "tab:orange"}


def draw(found: Mapping[str, Any], title: str, path: Path) -> None:
    """Write the .png `path`: attributions by token, then the norm of `output` by step and direction.

    Points mark the steps where h_n and c_n are taken; filled ones are read by the task. Of a long
    input the first tokens are shown.
    """
    tokens = found["tokens"][: plots.TOKENS]
    steps = found["lstm"]["steps"][: plots.TOKENS]
    layers = found["lstm"]["layers"] if found["lstm"]["cells"] else 0
    width = 2.5 + 0.26 * max(len(tokens), len(steps))
    figure, axes = plots.new_grid(max(6.0, width), 3.4 + 2.6 * layers, 1 + layers, 1)
    top = axes[0, 0]
    places = np.arange(len(tokens))
    right = top.twinx()  # the gradient of an answer that is sure is small
    bars = []
    for side, offset, name, colour in (
        (top, -0.2, "occlusion", "C0"),
        (right, 0.2, "gradient", "C1"),
    ):
        values = found[name][: len(tokens)]
        bars.append(side.bar(places + offset, values, 0.4, color=colour))
        most = 1.1 * max(map(abs, values), default=0) or 1.0
        negative = min([0.0, *found["occlusion"], *found["gradient"]]) < 0
        side.set_ylim(-most if negative else 0, most)
        side.tick_params(axis="y", colors=colour)
    top.axhline(0, color="grey", linewidth=0.8)
    plots.name_steps(top, tokens)
    top.set(
        ylabel="adds to the answer", title=plots.drawable(title, 80), xlim=(-0.6, len(tokens) - 0.4)
    )
    names = ["occlusion", "integrated gradients"]
    figure.legend(bars, names, loc="outside upper right", ncols=2, frameon=False)
    for cell in found["lstm"]["cells"]:
        below = axes[1 + cell["layer"], 0]
        norms, colour = cell["output"][: len(steps)], WAYS[cell["direction"]]
        below.plot(
            range(len(norms)), norms, color=colour, marker=".", label=f"output, {cell['direction']}"
        )
        marks = (("h_n", "o", None), ("c_n", "s", 0))[: 1 + ("c_n" in cell)]  # a GRU has no c_n
        for name, marker, height in marks:
            step = cell[name]["step"]
            if step < len(norms):
                filled = colour if cell[name]["read"] else "none"
                below.plot(
                    [step],
                    [norms[step] if height is None else height],
                    marker,
                    markersize=10,
                    markerfacecolor=filled,
                    markeredgecolor=colour,
                    linestyle="none",
                    label=f"{name}, {'read' if cell[name]['read'] else 'not read'}",
                )
        plots.name_steps(below, steps)
        taken = " and ".join([name for name, *_ in marks]) + (" are" if len(marks) > 1 else " is")
        below.set(ylabel="norm", title=f"layer {cell['layer'] + 1}: where {taken} taken")
        below.set(xlim=(-0.6, len(steps) - 0.4))
        below.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    plots.save_figure(figure, path)

"""Docstrings as Markdown: an example becomes a code block, and `name: text` an item of a list."""

from __future__ import annotations

import re
from typing import Any

import griffe

ITEM = re.compile(r"^(\w+): ")


class AsMarkdown(griffe.Extension):
    """Turn each docstring into Markdown before it is rendered."""

    def on_instance(self, *, obj: Any, **kwargs: Any) -> None:
        """Change the docstring of one function, class or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """Return a docstring as Markdown."""
    lines: list[str] = []
    example = False
    for line in text.splitlines():
        if line.startswith(">>> ") and not example:
            lines += ["", "```pycon"]
            example = True
        elif example and not line.strip():
            lines.append("```")
            example = False
        if example:
            lines.append(line)
        elif ITEM.match(line):
            item = ITEM.sub(r"- `\1`: ", line)
            lines += [item] if lines and lines[-1].startswith(("- ", "    ")) else ["", item]
        else:
            lines.append(line)
    return "\n".join([*lines, *(["```"] if example else [])])

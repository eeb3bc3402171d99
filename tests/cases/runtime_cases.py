"""Code that runs where no packages are but those of a runtime."""

from __future__ import annotations

import subprocess
import sys

from conftest import ROOT

ALLOWED = {"zoo", "numpy", "onnxruntime", "sentencepiece", "regex"}
BLOCK = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in {allowed} and top not in sys.stdlib_module_names:
            raise ModuleNotFoundError("blocked: " + name, name=name)

sys.meta_path.insert(0, Block())
"""


def without_torch(code):
    """Run code in a new interpreter that finds no other packages; return what it prints."""
    block = BLOCK.format(allowed=sorted(ALLOWED))
    done = subprocess.run(
        [sys.executable, "-c", block + code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout

"""Notebooks run as tests in their short setting; the committed outputs are those of the full one.

Translations have the code and the outputs of the English notebooks, so they need not run.
"""

import os

collect_ignore_glob = ["ja/*", "zh-TW/*"]
os.environ.setdefault("ZOO_QUICK", "1")

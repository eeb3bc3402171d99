"""Notebooks run as tests in their short setting; the committed outputs are those of the full one."""

import os

os.environ.setdefault("ZOO_QUICK", "1")

"""python -m zoo.export MODEL FILE: a trained model for use without this package, or without Python."""

import sys

from zoo.export.program import main

if __name__ == "__main__":
    sys.exit(main())

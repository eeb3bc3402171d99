"""python -m zoo.export MODEL FILE|FOLDER: export a trained model. See `zoo.export.program`."""

import sys

from zoo.export.program import main

if __name__ == "__main__":
    sys.exit(main())

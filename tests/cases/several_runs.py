"""Several command lines of `zoo.run`, one after the other: in processes that torchrun has started."""

from __future__ import annotations

import json
import sys

from zoo import run

if __name__ == "__main__":
    for words in json.loads(sys.argv[1]):
        status = run.main(words)
    sys.exit(status)

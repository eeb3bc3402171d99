"""Several command lines of `zoo.run`, one after the other: in processes that torchrun has started."""

from __future__ import annotations

import json
import sys

import torch.distributed

from zoo import run

if __name__ == "__main__":
    for number, words in enumerate(json.loads(sys.argv[1])):
        if number and torch.distributed.is_initialized():
            torch.distributed.barrier()  # process 0 alone writes what the next one reads
        status = run.main(words)
    sys.exit(status)

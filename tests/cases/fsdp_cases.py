"""One of two processes that train a sharded LSTM: `python fsdp_cases.py RANK FILE`."""

from __future__ import annotations

import copy
import sys

import torch
from torch import distributed
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

from zoo.rnn.lstm import LSTM

SIZE = 2
LENGTHS = torch.tensor([5, 2, 3, 4])
WAYS = ("fully_shard", "original parameters", "flat parameters")
OPTIONS = ({"dropout": 0.3}, {"layer_norm": True, "learned_state": True})


def sharded(lstm, way, mesh):
    if way == "fully_shard":
        return fully_shard(lstm, mesh=mesh)
    original = way == "original parameters"
    device = torch.device("cpu")
    return FullyShardedDataParallel(lstm, device_id=device, use_orig_params=original)


def loss_of(lstm, x, lengths):
    torch.manual_seed(3)  # the same dropout masks
    return lstm(x, None, lengths)[0].square().sum()


def weights_of(lstm, way):
    """All weights by name, each whole."""
    if way == "fully_shard":
        return {name: weight.full_tensor() for name, weight in lstm.named_parameters()}
    with FullyShardedDataParallel.summon_full_params(lstm):
        return {name: weight.detach().clone() for name, weight in lstm.module.named_parameters()}


def compare(rank, way, options, mesh):
    """Take one step of SGD, sharded and not; the same loss and weights."""
    torch.manual_seed(1)
    whole = LSTM(3, 4, 2, batch_first=True, **options)
    parts = sharded(copy.deepcopy(whole), way, mesh)
    x, lengths = torch.randn(4, 5, 3)[rank::SIZE], LENGTHS[rank::SIZE]
    optimizer = torch.optim.SGD(parts.parameters(), lr=0.1)
    found, wanted = loss_of(parts, x, lengths), loss_of(whole, x, lengths)
    torch.testing.assert_close(found, wanted)
    found.backward()
    wanted.backward()
    optimizer.step()
    with torch.no_grad():
        for weight in whole.parameters():
            distributed.all_reduce(weight.grad)
            weight -= 0.1 / SIZE * weight.grad
    torch.testing.assert_close(weights_of(parts, way), dict(whole.named_parameters()))


def main(rank, file):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=SIZE)
    mesh = distributed.device_mesh.init_device_mesh("cpu", (SIZE,))
    for way in WAYS:
        for options in OPTIONS:
            compare(rank, way, options, mesh)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

"""Attention of a decoder over the steps of the encoder's `output`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from zoo.nn.output_layer import at_least_float32

AttentionKind = Literal["dot", "general", "additive"]


@dataclass(frozen=True)
class Memory:
    """An encoder's output, prepared for attention."""

    values: Tensor  # (batch, read, size)
    keys: Tensor  # (batch, read, query size): the vectors that queries are compared with
    padding: Tensor  # (batch, read) bool: True on padding

    def select(self, rows: Tensor) -> Memory:
        """Return the memory of the rows with these indices (kept,)."""
        return Memory(self.values[rows], self.keys[rows], self.padding[rows])


class Attention(nn.Module):
    """Weight every step of the memory, and average the memory with these weights.

    The score of a step m for a query q (Luong et al. 2015; `additive` is Bahdanau et al. 2015):

        dot        q . m                     needs equal sizes
        general    q . W m
        additive   v . tanh(U q + W m + b)

    It processes all queries at once, after the recurrent layer, so the LSTM keeps its fused kernel.
    """

    def __init__(self, kind: AttentionKind, query_size: int, memory_size: int) -> None:
        super().__init__()
        if kind == "dot" and query_size != memory_size:
            raise ValueError(
                f"attention=dot compares vectors of one size: hidden_size={query_size} is not the "
                f"encoder's {memory_size}; use attention=general"
            )
        self.kind = kind
        self.key = None
        if kind != "dot":
            self.key = nn.Linear(memory_size, query_size, bias=kind == "additive")
        if kind == "additive":
            self.query = nn.Linear(query_size, query_size, bias=False)
            self.score = nn.Linear(query_size, 1, bias=False)

    def encode_memory(self, output: Tensor, lengths: Tensor) -> Memory:
        """Prepare output (batch, read, memory_size) with lengths (batch,) as memory."""
        steps = torch.arange(output.size(1), device=output.device)
        padding = steps >= lengths.to(output.device).unsqueeze(1)
        padding[:, 0] = False  # an empty row attends to its first step, which is zero
        keys = output if self.key is None else self.key(output)
        return Memory(output, keys, padding)

    def forward(self, queries: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Return contexts (batch, written, memory_size) of queries (batch, written, query_size).

        The second result is the weights (batch, written, read) in float32 or wider. Each query's
        weights sum to 1 and are 0 on padding.
        """
        if self.kind == "additive":
            sums = self.query(queries).unsqueeze(2) + memory.keys.unsqueeze(1)
            scores = self.score(sums.tanh()).squeeze(-1)  # (batch, written, read)
        else:
            scores = queries @ memory.keys.to(queries.dtype).transpose(1, 2)
        scores = at_least_float32(scores).masked_fill(memory.padding.unsqueeze(1), -torch.inf)
        weights = scores.softmax(-1)
        return weights.to(memory.values.dtype) @ memory.values, weights

"""Conversion of a trained backbone from one direction to both, or from both to one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from zoo.nn.backbone import Backbone
from zoo.rnn.stack import State

DROPOUTS = (  # each training sets these itself; a loaded backbone does not bring its own
    "dropout",
    "input_dropout",
    "word_dropout",
    "embedding_dropout",
    "output_dropout",
    "weight_dropout",
    "locked_dropout",
)


def with_directions(backbone: Backbone, bidirectional: bool, **dropouts: Any) -> Backbone:
    """Return a backbone that reads in one direction or in both, with `backbone`'s parameters.

    False leaves the backward direction out. One layer then computes the same forward half. With
    more layers the forward direction reads the backward one's output, so ValueError is raised.

    True adds a backward direction, a copy of the forward one. At first, each direction reads only
    its own output between layers, so both form separate stacks.

    Parameters that are equal in both are shared: training one backbone trains the other.
    `dropouts` replaces options named in DROPOUTS.
    """
    made = Backbone(replace(backbone.config, bidirectional=bidirectional, **dropouts))
    like = next(backbone.rnn.parameters())
    made.rnn.to(like.device, like.dtype)
    made.embedding = backbone.embedding
    if bidirectional and not backbone.rnn.bidirectional:
        _add_backward(backbone.rnn, made.rnn)
    else:
        _share(backbone.rnn, made.rnn)
    return made.train(backbone.training)


def forward_alone(state: State | None) -> State | None:
    """Extend a forward state to both directions; the backward direction starts from zero.

    Each part (1, batch, hidden) becomes (2, batch, hidden). None stays None.
    """
    if state is None:
        return None
    return tuple(torch.cat([part, torch.zeros_like(part)]) for part in state)


def _share(rnn: nn.RNNBase, made: nn.RNNBase) -> None:
    """Give `made` the parameters of `rnn`, in all directions that `made` has."""
    less = rnn.bidirectional and not made.bidirectional
    if less and rnn.num_layers > 1:
        raise ValueError(
            f"in a bidirectional {rnn.mode} of several layers the forward direction reads "
            "what the backward one has seen: it cannot do without"
        )
    for name, _ in [*made.named_parameters()]:
        if less and name in ("h_0", "c_0"):
            raise ValueError("a learned first state of both directions cannot be shared with one")
        setattr(made, name, _own(rnn, name))


@torch.no_grad()
def _add_backward(rnn: nn.RNNBase, made: nn.RNNBase) -> None:
    """Share or copy the parameters of `rnn` into `made`, which has both directions."""
    for name, weight in [*made.named_parameters()]:
        own = _own(rnn, name.removesuffix("_reverse"))
        mirror = name.endswith("_reverse")
        if name in ("h_0", "c_0"):
            weight.copy_(own.repeat_interleave(2, 0))  # both directions of each layer
        elif own.shape != weight.shape:  # (gates, size) -> (gates, 2 size): above the first layer
            weight.copy_(_widen(own, mirror))
        elif mirror:
            weight.copy_(own)
        else:
            setattr(made, name, own)


def _own(rnn: nn.RNNBase, name: str) -> nn.Parameter:
    """Return a parameter to share. Raises ValueError if a tool computes it from others."""
    weight = getattr(rnn, name)
    if not isinstance(weight, nn.Parameter):
        raise ValueError(
            f"{name} is computed from other parameters (by pruning or a norm, say), so it cannot "
            "be shared: remove that tool first"
        )
    return weight


def _widen(weight: Tensor, mirror: bool) -> Tensor:
    """Widen weights (gates, size) to (gates, 2 * size) with zeros for the other direction."""
    zeros = torch.zeros_like(weight)
    return torch.cat([zeros, weight] if mirror else [weight, zeros], 1)

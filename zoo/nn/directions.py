"""One direction or both: a backbone that was trained one way, under a task that reads the other."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.nn.backbone import Backbone
from zoo.rnn.stack import State

DROPOUTS = (  # a training's own, whatever its backbone was trained with before
    "dropout",
    "input_dropout",
    "word_dropout",
    "embedding_dropout",
    "output_dropout",
    "weight_dropout",
    "locked_dropout",
)


def with_directions(backbone: Backbone, bidirectional: bool, **dropouts: float) -> Backbone:
    """A backbone that reads in one direction or in both, made of `backbone`'s own parameters.

    False leaves the backward direction out. A single layer allows that and computes the same
    forward half; in a deeper one the forward direction reads what the backward one has seen, and
    ValueError says so.

    True adds a backward direction. It starts as the forward one's mirror, and between layers each
    direction starts reading itself alone: two stacks, one to the right and one to the left.

    What is the same in both stays one parameter: training the one trains the other. `dropouts` are
    those of DROPOUTS that are to be others.
    """
    made = Backbone(**backbone.options | {"bidirectional": bidirectional} | dropouts)
    like = next(backbone.lstm.parameters())
    made.lstm.to(like.device, like.dtype)
    made.embedding = backbone.embedding
    if bidirectional and not backbone.lstm.bidirectional:
        _both(backbone.lstm, made.lstm)
    else:
        _same(backbone.lstm, made.lstm)
    return made.train(backbone.training)


def forward_alone(state: State | None) -> State | None:
    """The first state of two directions, (2, batch, hidden) each, of which only the forward one
    goes on from something, (1, batch, hidden): the backward one starts at the end, from nothing."""
    if state is None:
        return None
    h, c = (torch.cat([part, torch.zeros_like(part)]) for part in state)
    return h, c


def _same(lstm: nn.LSTM, made: nn.LSTM) -> None:
    less = lstm.bidirectional and not made.bidirectional
    if less and lstm.num_layers > 1:
        raise ValueError(
            "in a bidirectional LSTM of several layers the forward direction reads "
            "what the backward one has seen: it cannot do without"
        )
    for name, _ in [*made.named_parameters()]:
        if less and name in ("h_0", "c_0"):
            raise ValueError("a learned first state of both directions cannot be shared with one")
        setattr(made, name, lstm.get_parameter(name))


@torch.no_grad()
def _both(lstm: nn.LSTM, made: nn.LSTM) -> None:
    for name, weight in [*made.named_parameters()]:
        own = lstm.get_parameter(name.removesuffix("_reverse"))
        mirror = name.endswith("_reverse")
        if name in ("h_0", "c_0"):
            weight.copy_(own.repeat_interleave(2, 0))  # of each layer both directions
        elif own.shape != weight.shape:  # (gates, size) -> (gates, 2 size): above the first layer
            weight.copy_(_beside(own, mirror))
        elif mirror:
            weight.copy_(own)
        else:
            setattr(made, name, own)


def _beside(weight: Tensor, mirror: bool) -> Tensor:
    """Weights (gates, size) that read their own half of (forward, backward) and not the other."""
    none = torch.zeros_like(weight)
    return torch.cat([none, weight] if mirror else [weight, none], 1)

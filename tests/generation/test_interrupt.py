"""A thread may end the writing of texts that nobody waits for, whatever the search."""

from __future__ import annotations

import pytest
import torch
from generate_cases import asked, language
from torch import nn

from zoo.generation.config import GenerationConfig
from zoo.generation.interrupt import ask_before_modules, interruptible, may_go_on

AT = 4  # the token before which it ends


@pytest.mark.parametrize(
    "settings",
    [
        {"beam_size": 3},
        {"beam_size": 1},
        {"sample": True, "seed": 1},
        {"sample": True, "seed": 1, "repetition_penalty": 1.5},
    ],
    ids=["beam", "greedy", "sample", "processors"],
)
def test_every_search_asks_before_each_token(settings):
    task, calls = language(end=0.0), []
    config = GenerationConfig(max_length=200, min_length=200, **settings)

    def check():
        calls.append(1)
        if len(calls) == AT:
            raise TimeoutError

    with interruptible(check), pytest.raises(TimeoutError):
        task.generate(asked(task), config)
    assert len(calls) == AT
    may_go_on()  # outside nobody is asked
    assert len(calls) == AT


def test_the_modules_of_one_model_ask_and_no_others():
    model, other = nn.Sequential(nn.Linear(2, 2)), nn.Linear(2, 2)
    x = torch.zeros(1, 2)

    def check():
        raise TimeoutError

    end = ask_before_modules(model)
    model(x)  # this thread has no check
    with interruptible(check):
        other(x)
        for module in (model, model[0]):
            with pytest.raises(TimeoutError):
                module(x)
        end()
        model(x)
    assert not any(module._forward_pre_hooks for module in model.modules())

"""Explanations of answers: what they hold for every task, and that they are about the answer given."""

from __future__ import annotations

import json
import math
import threading

import pytest
import torch
from every_task import toys, untrained

from zoo.errors import InputError
from zoo.explanation.answer import explain_answer
from zoo.task import predict_rows

EXPLAINED = ["classify", "tag"]
KEYS = "task reads why answer target probability tokens occlusion gradient agreement window written lstm"


@pytest.fixture(scope="module", params=EXPLAINED)
def task(request):
    return untrained(request.param)


def asked(task):
    """Return a toy row without its answer."""
    row = toys(task.name)[0]
    return {name: row.get(name, row.get("text")) for name in task.input_columns}


def test_an_explanation_is_plain_data_with_a_number_for_each_token(task):
    found = task.explain(asked(task))
    assert [*found] == KEYS.split()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    count = len(found["tokens"])
    assert count > 3
    assert len(found["occlusion"]) == len(found["gradient"]) == count
    assert any(found["occlusion"])
    assert any(found["gradient"])
    for part in found["written"]:
        assert len(part["occlusion"]) == len(part["gradient"]) == count
    steps = len(found["lstm"]["steps"])
    for cell in found["lstm"]["cells"]:
        assert {len(cell[name]) for name in ("output", "c", *"ifgo")} == {steps}


def test_the_answer_is_the_one_that_predict_gives(task):
    row = asked(task)
    answer = task.explain(row)["answer"]
    given = next(predict_rows(task, [task_row(task, row)]))
    assert answer == {name: value for name, value in given.items() if name not in task.hidden_keys}


def task_row(task, row):
    from zoo.data.readers import Row
    from zoo.task import input_row

    return input_row(task, Row(row, "here"))


def test_threads_share_a_model_that_stays_as_it_was(task):
    row = asked(task)
    alone = task.explain(row)
    before = {name: weight.clone() for name, weight in task.state_dict().items()}
    generator = torch.random.get_rng_state()
    attributes = {*vars(task)}
    found = []
    threads = [threading.Thread(target=lambda: found.append(task.explain(row))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone] * 4
    assert torch.equal(generator, torch.random.get_rng_state())
    assert {*vars(task)} == attributes
    assert all(torch.equal(weight, before[name]) for name, weight in task.state_dict().items())
    assert all(weight.grad is None for weight in task.parameters())
    assert not task.training


def test_the_probability_is_that_of_the_answered_label():
    task = untrained("classify")
    found = task.explain(asked(task))
    answer = found["answer"]
    assert found["target"] == answer["label"]
    assert found["probability"] == pytest.approx(answer["probabilities"][answer["label"]], rel=1e-5)
    other = next(label for label in task.labels if label != answer["label"])
    chosen = task.explain(asked(task), target=other)
    assert chosen["probability"] == pytest.approx(answer["probabilities"][other], rel=1e-5)
    with pytest.raises(InputError, match="target=nothing: no label of this model; it knows"):
        task.explain(asked(task), target="nothing")


@pytest.mark.parametrize("crf", [False, True])
def test_the_parts_of_a_tagger_are_its_words(crf):
    task = untrained("tag", f"task.crf={crf}")
    found = task.explain(asked(task))
    answer = found["answer"]
    assert [part["token"] for part in found["written"]] == answer["words"]
    shares = [part["probability"] for part in found["written"]]
    assert shares == pytest.approx(answer["probabilities"], rel=1e-4)
    if not crf:
        logs = sum(map(math.log, shares)) / len(shares)
        assert found["probability"] == pytest.approx(math.exp(logs), rel=1e-4)
    third = task.explain(asked(task), target=2)
    assert third["target"] == answer["labels"][2:3]
    assert third["occlusion"] == pytest.approx(found["written"][2]["occlusion"], abs=1e-5)
    assert third["gradient"] == pytest.approx(found["written"][2]["gradient"], abs=1e-5)
    with pytest.raises(InputError, match="target=99: no word of this text"):
        task.explain(asked(task), target=99)


def test_a_text_is_shown_with_its_blanks():
    text = "The  sea, and the\tmountain."
    for name in EXPLAINED:
        assert "".join(untrained(name).explain(text)["tokens"]) == text


def test_an_empty_text_has_no_tokens(task):
    found = task.explain("")
    assert found["tokens"] == found["occlusion"] == found["lstm"]["cells"] == []


def test_one_input_is_explained_at_a_time():
    task = untrained("classify")
    with pytest.raises(InputError, match="explain takes one input, not several"):
        task.explain(["one", "two"])
    assert task.explain(["one text"])["tokens"] == task.explain("one text")["tokens"]


def test_a_folder_level_call_can_hold_every_h():
    task = untrained("classify")
    found = explain_answer(task, asked(task), full=True)["lstm"]
    for cell in found["cells"]:
        norms = [math.hypot(*step) for step in cell["h"]]
        assert norms == pytest.approx(cell["output"], rel=1e-4)
        taken = cell["h_n"]
        assert taken["step"] == (0 if cell["direction"] == "backward" else len(norms) - 1)
        assert taken["norm"] == pytest.approx(norms[taken["step"]], rel=1e-4)
        assert taken["read"]
        assert not cell["c_n"]["read"]
    assert found["output_read"] == [[], []]

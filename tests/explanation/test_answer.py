"""Explanations of answers: what they hold for every task, and that they are about the answer given."""

from __future__ import annotations

import json
import math
import threading

import numpy as np
import pytest
import torch
from every_task import TASKS, toys, untrained, untrained_heads
from forecast_cases import WAVE, build, rows_of

from zoo.data.readers import Row
from zoo.errors import InputError
from zoo.explanation import picture, terminal
from zoo.explanation.answer import explain_answer
from zoo.generation.config import GenerationConfig
from zoo.task import Generative, input_row, predict_rows

SHORT = GenerationConfig(beam_size=2, max_length=6)
KEYS = "task reads why answer target probability tokens occlusion gradient agreement window written lstm"


@pytest.fixture(scope="module", params=TASKS)
def task(request):
    return untrained(request.param)


def short(task):
    """Return the arguments with which a text is generated that is short, and always the same."""
    return {"config": SHORT} if isinstance(task, Generative) else {}


def asked(task):
    """Return a toy row without its answer."""
    row = toys(task.name)[0]
    return {name: row.get(name, row.get("text")) for name in task.input_columns}


def test_an_explanation_is_plain_data_with_a_number_for_each_token(task):
    found = task.explain(asked(task), **short(task))
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


@pytest.mark.parametrize("name", ["classify", "translate"])
def test_a_gru_has_three_gates_and_no_cell(name, tmp_path):
    task = untrained(name, "backbone.cell=gru", "backbone.num_layers=2")
    found = explain_answer(task, asked(task), full=True, **short(task))
    assert found["reads"] == "h_n"
    assert found["lstm"]["cell"] == "gru"
    for cell in found["lstm"]["cells"]:
        assert {"r", "z", "n", "h_n"} < cell.keys()
        assert not {"c", "c_n", *"ifgo"} & cell.keys()
        last = np.linalg.norm(cell["h"][cell["h_n"]["step"]])
        assert last == pytest.approx(cell["h_n"]["norm"], rel=1e-4)
    read = [cell["h_n"]["read"] for cell in found["lstm"]["cells"]]
    assert read == ([False, False, True, True] if name == "classify" else [True] * 4)
    shown = "".join(str(line) for line in terminal.lines(found, "an answer", False))
    assert "h_n is taken" in shown
    assert "c_n" not in shown
    picture.draw(found, "an answer", tmp_path / "why.png")
    assert (tmp_path / "why.png").stat().st_size > 1000


def test_the_answer_is_the_one_that_predict_gives(task):
    row = asked(task)
    answer = task.explain(row, **short(task))["answer"]
    given = next(predict_rows(task, [input_row(task, Row(row, "here"))], **short(task)))
    assert answer == {name: value for name, value in given.items() if name not in task.hidden_keys}


def test_threads_share_a_model_that_stays_as_it_was(task):
    row = asked(task)
    alone = task.explain(row, **short(task))
    before = {name: weight.clone() for name, weight in task.state_dict().items()}
    generator = torch.random.get_rng_state()
    attributes = {*vars(task)}
    found = []

    def run():
        found.append(task.explain(row, **short(task)))

    threads = [threading.Thread(target=run) for _ in range(4)]
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
    for name in ("classify", "tag"):
        assert "".join(untrained(name).explain(text)["tokens"]) == text


@pytest.mark.parametrize("name", ["classify", "tag"])
def test_an_empty_text_has_no_tokens(name):
    found = untrained(name).explain("")
    assert found["tokens"] == found["occlusion"] == found["lstm"]["cells"] == []


def test_a_translation_is_explained_as_it_was_written():
    task = untrained("translate", "task.attention=general")
    found = task.explain(asked(task), config=SHORT)
    written = "".join(part["token"] for part in found["written"])
    assert written.removesuffix("<eos>") == found["answer"]["text"] == found["target"]
    assert found["tokens"][-1] == "<eos>"
    for part in found["written"]:
        assert sum(part["attention"]) == pytest.approx(1, abs=1e-4)
    steps = len(found["tokens"])
    assert found["lstm"]["output_read"] == [[*range(steps)]] * 2  # by attention
    assert all(c["h_n"]["read"] and c["c_n"]["read"] for c in found["lstm"]["cells"])
    chosen = task.explain(asked(task), target="ein Berg")
    assert chosen["target"] == "ein Berg"
    assert chosen["answer"] == task.explain(asked(task))["answer"]


def test_the_score_of_a_translation_is_the_sum_of_its_parts():
    task = untrained("translate")
    config = GenerationConfig(beam_size=1, length_penalty=0)
    found = task.explain(asked(task), config=config)
    if found["written"][-1]["token"] != "<eos>":
        pytest.skip("it was cut at its limit")
    logs = sum(math.log(part["probability"]) for part in found["written"])
    assert logs <= found["answer"]["n_best"][0]["score"] + 1e-3  # it may not write specials
    assert found["probability"] == pytest.approx(math.exp(logs / len(found["written"])), rel=1e-4)


def test_a_language_model_explains_each_token_behind_its_prompt():
    task = untrained("generate")
    prompt = toys("generate")[0]["text"][:12]
    found = task.explain(prompt, config=SHORT)
    assert found["tokens"][0] == "<eos>"
    shown = "".join([*found["tokens"][1:], *(part["token"] for part in found["written"])])
    assert shown == found["answer"]["text"]
    assert len(found["lstm"]["steps"]) == len(found["tokens"]) + len(found["written"]) - 1
    assert all(len(part["occlusion"]) == len(found["tokens"]) for part in found["written"])
    sampled = GenerationConfig(sample=True, max_length=5, seed=3)
    again = [task.explain(prompt, config=sampled) for _ in range(2)]
    assert again[0] == again[1]
    assert task.explain("", config=SHORT)["tokens"] == ["<eos>"]


def test_a_forecast_is_explained_by_past_value():
    task = untrained("forecast")
    row = asked(task)
    found = task.explain(row)
    values = [part["value"] for part in found["written"]]
    assert values == pytest.approx(found["answer"]["forecast"], rel=1e-4)
    assert found["probability"] is None
    assert len(found["tokens"]) == min(len(row["past"]), task.config.input)
    assert float(found["tokens"][-1]) == pytest.approx(row["past"][-1], rel=1e-3)
    one = task.explain(row, target=1)
    assert one["occlusion"] == pytest.approx(found["written"][1]["occlusion"], rel=1e-3, abs=1e-5)
    with pytest.raises(InputError, match="target=999: no step of the forecast"):
        task.explain(row, target=999)


def test_a_linear_forecast_has_equal_attributions_by_both_methods():
    """Also through what frames a window: its last value, and the linear forecast."""
    task = untrained("forecast")
    torch.nn.init.zeros_(task.head.weight)
    torch.nn.init.zeros_(task.head.bias)
    found = task.explain(asked(task))
    assert any(abs(value) > 1e-3 for value in found["occlusion"])
    assert found["gradient"] == pytest.approx(found["occlusion"], rel=1e-3, abs=1e-4)


def test_a_forecast_with_covariates_is_explained():
    names = {"target": ["load"], "past": [], "future": ["holiday"], "static": ["size"]}
    values = np.stack([WAVE, np.arange(120) % 3], 1)
    task = build([rows_of(values, columns=names, static=[size]) for size in (1.0, 3.0)])
    asked = {"past": values[:40], "future": values[40:44], "static": [1.0]}
    found = task.explain(asked)
    assert found["answer"]["forecast"] == task.predict(asked)[0]["forecast"]
    assert len(found["tokens"]) == len(found["occlusion"]) == task.config.input
    assert any(found["gradient"])


def test_every_head_explains_its_own_answer():
    heads = untrained_heads()
    found = heads.explain("The sea")
    assert {*found} == {"topic", "word", "german", "story"}
    assert found["topic"]["task"] == "classify"


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

"""The benchmarks write complete cases, each of which names its two sides."""

from __future__ import annotations

import json
import time

import pytest
import torch
from conftest import DATA, SMALL

from zoo.bench import crf, measure, threads, translate
from zoo.bench.__main__ import main
from zoo.bench.lstm import Sizes, lstm

SUBWORDS = ["task.words=subword", "tokenizer.kind=characters"]


def words(name: str) -> list[str]:
    return ["data=files", f"data.train={DATA / name}.jsonl", *SMALL]


@pytest.mark.parametrize(
    ("name", "unit", "predicted"),
    [("classify", None, "against one text at a time"), ("tag", "words/s", "")],
)
def test_the_file_has_the_machine_and_all_cases(tmp_path, capsys, name, unit, predicted):
    path = tmp_path / "bench.json"
    assert main([name, *words(name), "--json", str(path), "--rounds", "1"]) == 0
    measured = json.loads(path.read_text())
    assert measured["versions"]["torch"] == torch.__version__
    assert measured["machine"]["threads"] == torch.get_num_threads()
    names = [case["name"] for case in measured["cases"]]
    assert "training step, fp32 against packed fp32" in names
    assert names[-1].startswith(f"prediction, {predicted}")
    for case in measured["cases"]:
        assert {"name", "ours", "peer", "unit", "ratio"} <= set(case)
        assert case["ratio"] == pytest.approx(case["ours"] / case["peer"])
        assert unit in (None, case["unit"])
    assert names[0] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["classify", "train.epoch=1"], "error: train.epoch: no such setting"),
        (["tag", *words("tag"), *SUBWORDS, "--rounds", "1"], "task.words=word+char"),
        (["threads", "threads=4"], "compares one and two threads of a processor itself"),
        (["crf", "labels=2,x"], "error: labels=2,x: give numbers of labels, such as 23,200"),
    ],
)
def test_a_wrong_setting_is_one_line(capsys, given, said):
    assert main(given) == 2
    assert said in capsys.readouterr().err


def test_sides_take_turns_and_the_median_counts():
    turns = []

    def side(name, seconds):
        def run():
            turns.append(name)
            time.sleep(seconds)

        return run

    case = measure.compare("x", "y/s", 1.0, side("ours", 0.05), side("peer", 0.15), rounds=3)
    assert [sorted(turns[at : at + 2]) for at in range(0, 8, 2)] == [["ours", "peer"]] * 4
    assert len(turns) == 8
    assert 2 < case["ratio"] < 4


@pytest.mark.parametrize("given", [True, False], ids=["a corpus", "drawn"])
def test_the_translation_cases_name_both_sides(monkeypatch, given):
    monkeypatch.setattr(translate, "ROWS", 24)
    monkeypatch.setattr(translate, "SENTENCES", 3)
    cases = translate.translate(words("translate") if given else SMALL, 1)
    *training, greedy, beam = cases
    against = "against step by step with input feeding, fp32"
    assert f"training step, fp32 {against}" in [case["name"] for case in training]
    assert greedy["name"] == "decoding, greedy, against one sentence at a time, greedy"
    assert beam["name"] == "decoding, beam 5, against one sentence at a time, greedy"
    for case in cases:
        assert case["ratio"] == pytest.approx(case["ours"] / case["peer"])


def test_a_crf_is_measured_for_each_number_of_labels():
    cases = [*crf.crf(["labels=2,3", "precision=fp32", *words("tag")], 1)]
    names = [case["name"] for case in cases if case["name"].endswith("fp32")]
    over = "training step with a CRF over {} labels against none, fp32"
    assert names == [over.format(count) for count in (2, 3)]
    assert all(case["unit"] == "words/s" and case["ours"] > 0 for case in cases)


def test_the_lstm_cases_name_both_sides_and_judge_one_by_the_matrix_product(monkeypatch):
    monkeypatch.setattr("zoo.bench.lstm.square", lambda _: 64)
    cases = lstm(["device=cpu"], 1, [Sizes(2, 6, 8)])
    names = [case["name"] for case in cases]
    assert "hoisted against nn.LSTM, forward, fp32, batch 2, time 6, hidden 8" in names
    ragged = "torch with lengths against nn.LSTM packed, forward and backward, fp32"
    assert any(name.startswith(ragged) for name in names)
    assert len(names) == len(set(names))
    for case in cases:
        assert case["ratio"] == pytest.approx(case["ours"] / case["peer"])
        judged = case["name"].startswith("torch against")
        assert ("matrix_product_share" in case) == judged
        if judged:
            share = case["gflops"] / case["matrix_product_gflops"]
            assert case["matrix_product_share"] == pytest.approx(share)


def test_two_threads_are_compared_with_one_and_the_callers_number_stays(monkeypatch):
    monkeypatch.setattr(threads, "SIZES", (Sizes(2, 3, 4),))
    monkeypatch.setattr(threads, "TASKS", {})  # their steps are those of the other benchmarks
    seen = []
    set_threads = torch.set_num_threads
    monkeypatch.setattr(torch, "set_num_threads", lambda n: seen.append(n) or set_threads(n))
    before = torch.get_num_threads()
    cases = list(threads.threads([], 1))
    assert {*seen[:-1]} == {1, 2}
    assert torch.get_num_threads() == seen[-1] == before
    names = [case["name"] for case in cases]
    assert names[0] == "LSTM, two threads against one, batch 2, time 3, hidden 4"

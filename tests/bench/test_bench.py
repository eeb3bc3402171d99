"""The benchmarks write complete cases, and both sides of a case compute the same thing."""

from __future__ import annotations

import json
import time

import pytest
import torch
import translate_cases
from conftest import DATA, SMALL

from zoo.bench import measure, peers, translate
from zoo.bench.__main__ import main
from zoo.bench.lstm import Sizes, lstm
from zoo.data.dataset import Batch
from zoo.nn.backbone import Backbone
from zoo.rnn.lstm import LSTM

WORDS = ["data=files", f"data.train={DATA / 'classify.jsonl'}", *SMALL]


def test_the_file_has_machine_and_cases(tmp_path, capsys):
    path = tmp_path / "bench.json"
    assert main(["classify", *WORDS, "--json", str(path), "--rounds", "1"]) == 0
    measured = json.loads(path.read_text())
    assert measured["versions"]["torch"] == torch.__version__
    assert measured["machine"]["threads"] == torch.get_num_threads()
    names = [case["name"] for case in measured["cases"]]
    assert "training step, fp32 against packed fp32" in names
    assert "prediction, against one text at a time" in names
    for case in measured["cases"]:
        assert {"name", "ours", "peer", "unit", "ratio"} <= set(case)
        assert case["ratio"] == pytest.approx(case["ours"] / case["peer"])
    assert all(name in capsys.readouterr().out for name in names[:1])


def test_a_wrong_setting_is_one_line(capsys):
    assert main(["classify", "train.epoch=1"]) == 2
    assert capsys.readouterr().err.startswith("error: train.epoch: no such setting")


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


def test_the_tutorials_model_gives_the_same_final_states_with_the_same_weights():
    """The peer is the real thing: with our weights its packed run equals our dense one."""
    torch.manual_seed(0)
    peer = peers.PackedClassifier(20, 6, 5, 2, 3).eval()
    backbone = Backbone(20, embedding_size=6, hidden_size=5, num_layers=2).eval()
    backbone.lstm.load_state_dict(peer.lstm.state_dict())
    assert backbone.embedding is not None
    backbone.embedding.load_state_dict(peer.embedding.state_dict())
    batch = Batch.collate([{"ids": [4, 5, 6]}, {"ids": [7]}, {"ids": [8, 9]}], range(3))
    encoded = backbone(batch.ids, batch.lengths)
    ours = peer.head(torch.cat([encoded.h_n[-2], encoded.h_n[-1]], -1))
    torch.testing.assert_close(ours, peer(batch))


def test_the_step_by_step_translator_gives_the_same_logits_with_the_same_weights():
    """The peer is the real thing: it is ours with input feeding, packed and written by the step."""
    task = translate_cases.translate(scale=0.5, attention="general", input_feeding=True)
    peer = peers.StepwiseTranslator(len(task.tokenizer), 8, 6, 12).eval()
    ours = {
        "embedding": task.backbone.embedding,
        "encoder": task.backbone.lstm,
        "bridge_h": task.bridge.h[0],
        "bridge_c": task.bridge.c[0],
        "decoder": task.decoder.backbone.lstm,
        "key": task.decoder.attention.key,
        "mix": task.decoder.mix,
    }
    for name, part in ours.items():
        peer.get_submodule(name).load_state_dict(part.state_dict())
    with torch.no_grad():
        peer.head.weight.copy_(task.backbone.embedding.weight)
        peer.head.bias.copy_(task.tokens.bias)
        batch = translate_cases.batch(task)
        logits = peer(batch)
        torch.testing.assert_close(logits, task(batch))
        row = translate_cases.batch(task, translate_cases.ROWS[:1])
        first = int(peer(row)[0, 0].argmax())
        assert peer.greedy(row, 1) == [first]


@pytest.mark.parametrize("given", [True, False], ids=["a corpus", "drawn"])
def test_the_translation_cases_name_both_sides(monkeypatch, given):
    monkeypatch.setattr(translate, "ROWS", 24)
    monkeypatch.setattr(translate, "SENTENCES", 3)
    rows = ["data=files", f"data.train={DATA / 'translate.jsonl'}"] if given else []
    cases = translate.translate([*rows, *SMALL], 1)
    *training, greedy, beam = cases
    against = "against step by step with input feeding, fp32"
    assert f"training step, fp32 {against}" in [case["name"] for case in training]
    assert greedy["name"] == "decoding, greedy, against one sentence at a time, greedy"
    assert beam["name"] == "decoding, beam 5, against one sentence at a time, greedy"
    for case in cases:
        assert case["ratio"] == pytest.approx(case["ours"] / case["peer"])


def test_the_lstm_cases_name_both_sides_and_judge_one_by_the_matrix_product():
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


def halves(lstm, at):
    """The rows of gate `at` (i, f, g, o) of an LSTM's two weights and two biases."""
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    return [lstm.get_parameter(name).chunk(4)[at] for name in names]


@torch.no_grad()
def test_the_loop_of_eight_linear_computes_an_lstm():
    ours, x = LSTM(3, 4), torch.randn(5, 2, 3)
    naive = peers.NaiveLSTM(3, 4)
    for at, (a, b) in enumerate(zip(naive.from_input, naive.from_hidden, strict=True)):
        own = (a.weight, b.weight, a.bias, b.bias)
        for mine, theirs in zip(own, halves(ours, at), strict=True):
            mine.copy_(theirs)
    torch.testing.assert_close(naive(x), ours(x)[0])


@torch.no_grad()
def test_the_loop_with_layer_norm_computes_ours():
    ours, x = LSTM(3, 4, layer_norm=True), torch.randn(5, 2, 3)
    loop = peers.LayerNormLSTM(3, 4)
    loop.from_input.weight.copy_(ours.weight_ih_l0)
    loop.from_hidden.weight.copy_(ours.weight_hh_l0)
    loop.from_hidden.bias.copy_(ours.bias_ih_l0 + ours.bias_hh_l0)
    for parameter in ("norm_weight_l0", "norm_bias_l0"):
        torch.nn.init.normal_(ours.get_parameter(parameter))
    for norm, scale, shift in zip(loop.norms, ours.norm_weight_l0, ours.norm_bias_l0, strict=True):
        norm.weight.copy_(scale)
        norm.bias.copy_(shift)
    torch.testing.assert_close(loop(x), ours(x)[0])


@torch.no_grad()
def test_the_packed_side_is_ours_with_lengths():
    ours, x, lengths = LSTM(3, 4), torch.randn(5, 2, 3), torch.tensor([3, 5])
    packed = peers.PackedLSTM(ours, lengths)
    torch.testing.assert_close(packed(x), ours(x, None, lengths)[0])

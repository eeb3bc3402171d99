"""The benchmark's form, and that both of its sides compute the same thing."""

from __future__ import annotations

import json
import time

import pytest
import torch
from conftest import DATA, SMALL

from zoo import bench, peers
from zoo.backbone import Backbone
from zoo.batches import Batch

WORDS = ["data=files", f"data.train={DATA / 'classify.jsonl'}", *SMALL]


def test_the_file_has_machine_and_cases(tmp_path, capsys):
    path = tmp_path / "bench.json"
    assert bench.main(["classify", *WORDS, "--json", str(path), "--rounds", "1"]) == 0
    measured = json.loads(path.read_text())
    assert measured["machine"]["torch"] == torch.__version__
    assert measured["machine"]["threads"] == torch.get_num_threads()
    names = [case["name"] for case in measured["cases"]]
    assert "training step, fp32 against packed fp32" in names
    assert "prediction, against one text at a time" in names
    for case in measured["cases"]:
        assert {"name", "ours", "peer", "unit", "ratio"} <= set(case)
        assert case["ratio"] == pytest.approx(case["ours"] / case["peer"])
    assert all(name in capsys.readouterr().out for name in names[:1])


def test_a_wrong_setting_is_one_line(capsys):
    assert bench.main(["classify", "train.epoch=1"]) == 2
    assert capsys.readouterr().err.startswith("error: train.epoch: no such setting")


def test_sides_take_turns_and_the_median_counts():
    turns = []

    def side(name, seconds):
        def run():
            turns.append(name)
            time.sleep(seconds)

        return run

    case = bench.compare("x", "y/s", 1.0, side("ours", 0.05), side("peer", 0.15), rounds=3)
    assert turns == ["ours", "peer"] * 4
    assert 2 < case["ratio"] < 4


def test_the_tutorials_model_gives_the_same_final_states_with_the_same_weights():
    """The peer is the real thing: with our weights its packed run equals our dense one."""
    torch.manual_seed(0)
    peer = peers.PackedClassifier(20, 6, 5, 2, 3).eval()
    backbone = Backbone(20, embedding_size=6, hidden_size=5, num_layers=2).eval()
    backbone.lstm.load_state_dict(peer.lstm.state_dict())
    assert backbone.embedding is not None
    backbone.embedding.load_state_dict(peer.embedding.state_dict())
    batch = Batch.of([{"ids": [4, 5, 6]}, {"ids": [7]}, {"ids": [8, 9]}], range(3))
    encoded = backbone(batch.ids, batch.lengths)
    ours = peer.head(torch.cat([encoded.h_n[-2], encoded.h_n[-1]], -1))
    torch.testing.assert_close(ours, peer(batch))

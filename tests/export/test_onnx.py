"""The ONNX graph: its inputs and outputs, its results against torch, and what it refuses."""

from __future__ import annotations

import torch
from torch.nn.utils.rnn import pack_padded_sequence
from torch.testing import assert_close

from zoo import LSTM
from zoo.export import onnx


def test_a_graph_gives_the_results_of_torchs_lstm(tmp_path):
    torch.manual_seed(0)
    model = LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True)
    reference = torch.nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True)
    reference.load_state_dict(model.state_dict())
    onnx.write(model, tmp_path / "lstm.onnx")
    x = torch.randn(2, 5, 3)
    lengths = torch.tensor([5, 2])
    output, h_n, c_n = map(torch.from_numpy, onnx.session(tmp_path / "lstm.onnx")(x, lengths))
    packed = pack_padded_sequence(x, lengths, batch_first=True)
    with torch.no_grad():
        _, (wanted_h, wanted_c) = reference(packed)
        whole, _ = reference(x[:1])
    assert_close(h_n, wanted_h, rtol=0, atol=1e-5)
    assert_close(c_n, wanted_c, rtol=0, atol=1e-5)
    assert_close(output[:1], whole, rtol=0, atol=1e-5)
    assert not output[1, 2:].any()  # padding


def test_a_graph_names_its_inputs_and_outputs(tmp_path):
    import onnx as onnx_package

    onnx.write(LSTM(3, 4), tmp_path / "lstm.onnx")
    graph = onnx_package.load(tmp_path / "lstm.onnx").graph
    assert [value.name for value in graph.input] == ["x", "lengths"]
    assert [value.name for value in graph.output] == ["output", "h_n", "c_n"]

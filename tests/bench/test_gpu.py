"""The GPU programme, rehearsed on the processor: budgets, failures, the file, and every part."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT

import zoo
from zoo.bench import sides
from zoo.bench.__main__ import main
from zoo.bench.gpu import command, device, kernels, packages, parts, pieces, right, strength, timing
from zoo.bench.lstm import Sizes
from zoo.errors import InputError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
PARTS = {
    "good": "def measurements(setting):\n"
    "    return [Measurement('one', lambda: [{'value': 1.5}, {'value': float('nan')}])]\n",
    "bad": "def measurements(setting):\n"
    "    def fails():\n"
    "        yield {'value': 2}\n"
    "        raise ValueError('no such kernel')\n"
    "    return [Measurement('fails', fails), Measurement('works', lambda: [{'value': 3}])]\n",
    "torn": "import no_such_module\n",
    "slow": "import time\n"
    "def measurements(setting):\n"
    "    def sleep():\n"
    "        for _ in range(3):\n"
    "            time.sleep(0.3)\n"
    "            yield {}\n"
    "    return [Measurement(f'number {n}', sleep) for n in range(50)]\n",
    "dying": "import os, time\n"
    "def measurements(setting):\n"
    "    return [Measurement('dies, first', lambda: os._exit(7)),\n"
    "            Measurement('dies, second', lambda: os._exit(8)),\n"
    "            Measurement('hangs', lambda: time.sleep(1000), 0.05),\n"
    "            Measurement('lives', lambda: [{'value': 4}])]\n",
}


@pytest.fixture
def stubs(tmp_path, monkeypatch):
    """Runs parts that are made up, each `seconds` long; what the JSON file says."""
    for name, text in PARTS.items():
        text = "from zoo.bench.gpu.parts import Measurement\n" + text
        (tmp_path / f"stub_{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))

    def run(**seconds):
        monkeypatch.setattr(command, "PARTS", seconds)
        monkeypatch.setattr(command, "REHEARSED", seconds)
        path, minutes = tmp_path / "out.json", sum(seconds.values()) / 60
        words = ["--device", "cpu", "--minutes", str(minutes), "--json", str(path)]
        command.programme(command._parser().parse_args([*words]), "a test", "stub_{}")
        return json.loads(path.read_text())

    return run


def test_a_part_that_fails_or_is_late_is_written_down_and_the_next_one_runs(stubs):
    found = stubs(bad=20, torn=20, slow=4, good=20)
    assert found["head"]["torch"] == torch.__version__
    assert found["head"]["device"] == "cpu"
    assert {"name", "driver", "capability", "cuda", "cudnn", "triton", "python"} <= {*found["head"]}
    fails, works = found["parts"]["bad"]["measurements"]
    assert fails["cases"] == [{"value": 2}]
    assert fails["error"] == "ValueError: no such kernel"
    assert "raise ValueError" in fails["traceback"]
    assert works["cases"] == [{"value": 3}]
    (torn,) = found["parts"]["torn"]["failures"]
    assert torn["error"] == "ModuleNotFoundError: No module named 'no_such_module'"
    (one,) = found["parts"]["good"]["measurements"]
    assert one["cases"] == [{"value": 1.5}, {"value": "nan"}]
    assert all(part["over"] for part in found["parts"].values())
    slow = found["parts"]["slow"]
    measured = slow["measurements"]
    assert measured[-1].get("cut") or len(measured[-1]["cases"]) == 3
    assert len(measured) + len(slow["missed"]) == 50
    assert slow["missed"][-1] == "number 49"
    assert slow["seconds"] < 4 + parts.GRACE


def test_a_process_that_dies_or_hangs_is_replaced(stubs):
    found = stubs(dying=40)["parts"]["dying"]
    dies, hangs, lives, second = found["measurements"]
    assert dies["error"] == "RuntimeError: the process ended with code 7"
    assert hangs["error"].startswith("TimeoutError: ended from outside after 2")
    assert lives["cases"] == [{"value": 4}]
    assert second["error"] == "RuntimeError: the process ended with code 8"
    assert found["processes"] == 4
    assert not found["missed"]


def test_what_was_measured_outlives_a_kill(tmp_path):
    path = tmp_path / "out.json"
    words = ["gpu", "--device", "cpu", "--minutes", "2", "--json", str(path), "--only", "kernels"]
    process = subprocess.Popen(
        [sys.executable, "-m", "zoo.bench", *words],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.time() + 60
        while time.time() < end and not (path.exists() and '"seen"' in path.read_text()):
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    found = json.loads(path.read_text())
    assert found["head"]["name"]
    first = found["parts"]["kernels"]["measurements"][0]
    assert first["cases"][0]["sides"]["torch"]["seconds"] > 0
    assert found["parts"]["kernels"]["missed"]
    assert not found["parts"]["kernels"]["over"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder that looks like WikiText-2."""
    folder = tmp_path_factory.mktemp("wikitext2")
    for part, count in (("train", 300), ("valid", 40), ("test", 40)):
        rows = (f"the {n % 7} birds sat on {n % 5} of the trees" for n in range(count))
        (folder / f"{part}.txt").write_text("\n".join(rows) + "\n")
    return folder


BARE = """\
from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions

THERE = {there!r}
OWNERS = {{
    module: {{name.lower().replace("_", "-") for name in names}}
    for module, names in packages_distributions().items()
}}
find = PathFinder.find_spec


class Find:  # no function: pytest makes what it finds here a method of its own
    def __call__(self, name, path=None, target=None):
        owners = OWNERS.get(name.partition(".")[0])
        return None if owners and not owners & THERE else find(name, path, target)


PathFinder.find_spec = Find()
"""


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory, corpus):
    """The whole programme on the processor: what the file says, and the folder of the pieces.

    All packages are hidden but those that `--help` names, and those that it takes for granted.
    """
    folder = tmp_path_factory.mktemp("rehearsal")
    there = {*packages.USUAL, *packages.CARRIED, *packages.BUILT}
    (folder / "sitecustomize.py").write_text(BARE.format(there=there))
    path, keep = folder / "gpu.json", folder / "kept"
    words = ["--data", str(corpus), "--keep", str(keep), "--json", str(path)]
    done = subprocess.run(
        [sys.executable, "-m", "zoo.bench", "gpu", "--device", "cpu", "--minutes", "9", *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text()), keep


def cases(part):
    return [case for measured in part["measurements"] for case in measured["cases"]]


def test_every_part_is_rehearsed_to_its_end(rehearsal):
    found, _ = rehearsal
    assert [*found["parts"]] == ["right", "kernels", "tasks", "strength"]
    for part in found["parts"].values():
        assert part["failures"] == part["missed"] == []
        assert part["processes"] == 1
        for measured in part["measurements"]:
            assert "error" not in measured, measured["error"] + measured["traceback"]
            assert measured["cases"]
    assert {"torch", "hydra-core", "pydantic-core"} <= {*found["imported"]}


def test_the_checks_say_right(rehearsal):
    checks = cases(rehearsal[0]["parts"]["right"])
    assert len(checks) > 40
    assert all(check["right"] for check in checks)
    assert {"same_seed_same_bits", "resumed_same_bits"} <= {name for c in checks for name in c}


def test_kernels_have_ratios_and_explanations(rehearsal):
    found = cases(rehearsal[0]["parts"]["kernels"])
    timed = [case for case in found if "sides" in case]
    for case in timed:
        assert not [side for side in case["sides"].values() if "error" in side]
        for side, peer in case["compared"].items():
            taken = case["sides"][peer]["seconds"] / case["sides"][side]["seconds"]
            assert case["ratios"][side] == pytest.approx(taken)
    assert any("pad the batch" in side for case in timed for side in case["ratios"])
    named = [case for case in found if "explained" in case]
    assert all(case["seen"] and case["agree"] is None for case in named)


def test_tasks_are_measured_against_the_tutorials(rehearsal):
    names = [case["name"] for case in cases(rehearsal[0]["parts"]["tasks"])]
    for what in ("writing, batch 64", "decoding, greedy", "decoding, beam 5", "packed fp32"):
        assert any(what in name for name in names)


def test_the_trained_model_is_kept_in_pieces_and_loads(rehearsal, tmp_path, corpus):
    found, keep = rehearsal
    steps = cases(found["parts"]["strength"])
    first, test = steps[0], next(case for case in steps if "test" in case)["test"]
    assert first["data"] == "wikitext2"
    assert [case["epoch"] for case in steps if "epoch" in case] == [1, 2]
    kept = [case["kept"] for case in steps if "kept" in case][-1]
    assert sorted(path.name for path in keep.iterdir()) == kept["pieces"] == ["model.tar.gz.0"]
    subprocess.run(["sh", "-c", kept["join"]], check=True)
    model = zoo.load(keep / "model")
    assert model.metadata["test"] == test
    assert model.predict("the", zoo.GenerationConfig(beam_size=1, max_length=3))


def test_without_a_corpus_the_embedded_text_is_read(tmp_path):
    setting = parts.Setting("cpu", 60, time.time() + 60)
    settings = strength.check(strength.compose(strength._words(setting, "auto")))
    assert settings.data["name"] == "pydoc"


def test_a_training_that_fails_is_tried_again_and_one_that_does_not_is_not(monkeypatch):
    first, second = strength.measurements(parts.Setting("cpu", 60, time.time() + 60))
    monkeypatch.setattr(strength, "_kept", [first.name])
    assert next(iter(second.run()))["note"].startswith("not needed")


def test_pieces_are_joined_by_their_command(tmp_path):
    source, into, made = (tmp_path / name for name in ("model", "pieces and more", "joined"))
    source.mkdir()
    contents = {"weights": os.urandom(5000), "config.json": b"{}"}
    for name, content in contents.items():
        (source / name).write_bytes(content)
    with pytest.raises(InputError, match="more than 3"):
        pieces.pack(source, into, 1000, 3)
    paths = pieces.pack(source, into, 1000)
    assert len(paths) == 6
    assert all(path.stat().st_size <= 1000 for path in paths)
    subprocess.run(["sh", "-c", pieces.joining(into, made)], check=True)
    assert {path.name: path.read_bytes() for path in made.iterdir()} == contents
    assert pieces.pack(source, into) == paths[:1]
    assert [*into.iterdir()] == paths[:1]


def test_a_side_that_fails_leaves_the_others_their_figures():
    def fails():
        raise RuntimeError("out of memory")

    def rarely():
        rarely.calls += 1
        if rarely.calls == 4:
            fails()

    rarely.calls = 0
    sides = {"works": lambda: None, "fails": fails, "rarely": rarely}
    found = timing.medians(sides, CPU, 0.01)
    assert [*found] == [*sides]
    assert found["works"]["least"] <= found["works"]["seconds"] <= found["works"]["most"]
    assert found["fails"] == found["rarely"] == {"error": "RuntimeError: out of memory"}
    assert timing.ratios(found, {"works": "fails", "fails": "works"}) == {}


def test_a_slow_side_is_called_a_few_times_only():
    calls = []
    found = timing.medians({"slow": lambda: calls.append(time.sleep(0.1))}, CPU, 0.05)
    assert len(calls) == 4
    assert found["slow"]["samples"] == 1


def test_cuda_is_timed_by_its_events(monkeypatch):
    now, waited = [0.0], []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at = now[0]

        def elapsed_time(self, other):
            return other.at - self.at  # milliseconds

    def call():
        now[0] += 30

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waited.append(now[0]))
    assert device.clock(call, 4, CUDA) == pytest.approx(0.03)
    assert waited == [0, 120]


def test_a_card_is_described(monkeypatch):
    card = SimpleNamespace(
        name="H100", major=9, minor=0, multi_processor_count=132, total_memory=80e9
    )
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    answer = SimpleNamespace(stdout="580.159\n")
    monkeypatch.setattr(device.subprocess, "run", lambda *_, **__: answer)
    found = device.head("cuda")
    assert (found["name"], found["driver"], found["capability"]) == ("H100", "580.159", [9, 0])


def test_a_driver_is_found_in_the_kernels_own_file(monkeypatch, tmp_path):
    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(device.subprocess, "run", missing)
    monkeypatch.setattr(device, "DRIVER_FILE", tmp_path / "version")
    assert device.driver() is None
    (tmp_path / "version").write_text("NVRM version: 580\nmore\n")
    assert device.driver() == "NVRM version: 580"


def test_a_device_that_an_error_has_spoilt_is_found_out(monkeypatch):
    def fails():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "synchronize", fails)
    assert device.broken("cuda")
    assert not device.broken("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ZeroDivisionError):
        timing.medians({"spoils": lambda: 1 / 0}, CPU, 0.01)


@pytest.mark.parametrize("wanted", [True, False])
def test_tf32_is_set_and_put_back(wanted):
    def now():
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    before = now()
    with device.tf32(wanted):
        assert now() == (wanted, wanted)
    assert now() == before


def test_seen_kernels_are_compared_with_the_explanation(monkeypatch):
    lstm = zoo.LSTM(256, 256, dtype=torch.float16)
    call = kernels.Call(lstm, torch.zeros(4, 8, 256, dtype=torch.float16))
    setting = parts.Setting("cpu", 60, time.time() + 60)
    explanation = kernels.explain(call, torch.float16, setting)
    assert "PERSIST" in explanation.kernel
    for name, agree in (("RNN_blockPersist_fp_LSTM", True), ("LSTM_elementWise_fp", False)):
        monkeypatch.setattr(kernels.devices, "kernels", lambda *_, name=name: {name: 3})
        found = kernels._names("torch", call, explanation, CUDA)
        assert (found["agree"], found["seen_persistent"], found["marked"]) == (agree, agree, [name])


def test_rewrites_change_no_result():
    torch.manual_seed(1)
    lstm, x = zoo.LSTM(5, 6, bidirectional=True), torch.randn(4, 3, 5)
    lengths = torch.tensor([4, 2, 1])
    for first in (kernels.Call(lstm, x), kernels.Call(lstm, x, lengths)):
        wanted = lstm(first.x, None, first.lengths)[0]
        texts = (
            "one call per layer and direction",
            "zero-pad hidden_size to 8: zoo.rnn.zero_pad",
            "zero-pad the input to 9: zoo.rnn.zero_pad",
            "pad the batch to 8 rows, of any content",
        )
        for text in texts:
            call = first.rewritten(text)
            model = kernels.Split(call.lstm) if call.split else call.lstm
            found = model(call.x, None, call.lengths)
            output = found if isinstance(found, torch.Tensor) else found[0]
            both = output[:, :3].unflatten(2, (2, -1))[..., :6]
            torch.testing.assert_close(both.flatten(2), wanted)
    with pytest.raises(ValueError, match="unknown rewrite"):
        first.rewritten("buy a larger one")


def test_steps_are_chosen_where_the_hoisted_engine_has_a_choice(monkeypatch):
    seen = []
    real = kernels.lstm_hoisted.run

    def run(x, state, weights, padding, reverse, steps="auto"):
        seen.append(steps)
        return real(x, state, weights, padding, reverse)

    monkeypatch.setattr(kernels.lstm_hoisted, "run", run)
    assert kernels.ways("cuda") == ("loop", "fused", "captured", "auto")
    assert kernels.ways("cpu") == ("loop",)
    lstm, x = zoo.LSTM(3, 4, layer_norm=True), torch.randn(5, 2, 3)
    lengths = torch.tensor([3, 5])
    output = kernels.Steps(lstm, "captured")(x, None, lengths)
    assert seen == ["captured"]
    torch.testing.assert_close(output, lstm(x, None, lengths)[0])


def test_on_cuda_all_precisions_are_measured():
    assert sides.precisions(CUDA) == ["bf16", "fp16", "fp32"]
    assert "fp32" in sides.precisions(CPU)


def test_ragged_rows_have_a_full_one_and_a_short_one():
    lengths = kernels.ragged(Sizes(5, 12, 8))
    assert int(lengths[0]) == 12
    assert int(lengths[-1]) == 2


def test_the_tests_marked_gpu_run_with_a_configuration_of_their_own(tmp_path):
    (tmp_path / "tests").mkdir()
    text = "import pytest, warnings\n@pytest.mark.gpu\ndef test_one():\n    {}\n"
    for name, body in (("right", "pass"), ("wrong", "warnings.warn('odd')")):
        (tmp_path / "tests" / f"test_{name}.py").write_text(text.format(body))
    (tmp_path / "tests" / "test_other.py").write_text("import no_such_module\n")
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = '--no-such'\n")
    setting = parts.Setting("cpu", 60, time.time() + 60)
    (found,) = right.marked(setting, tmp_path)
    assert found["counts"] == {"passed": 1, "failed": 1}
    assert found["files"] == ["test_right.py", "test_wrong.py"]
    assert not found["right"]
    assert "UserWarning: odd" in found["tail"]
    (found,) = right.marked(setting, tmp_path / "tests")
    assert "no tests" in found["note"]


def test_what_fails_in_a_process_of_its_own_is_told():
    with pytest.raises(RuntimeError, match=r"ZeroDivisionError"):
        parts.apart(divide, 60)
    with pytest.raises(TimeoutError, match="not done after 0"):
        parts.apart(divide, 0)


def divide():
    return {"value": 1 / 0}


def test_help_names_the_packages_to_carry(capsys):
    with pytest.raises(SystemExit):
        main(["gpu", "--help"])
    said = capsys.readouterr().out
    assert "hydra-core==" in said
    assert "antlr4-python3-runtime==" in said
    assert "Missing on this machine:" in said
    assert "torch==" not in said


def test_packages_that_are_missing_or_old_are_named(monkeypatch):
    versions = {"sentencepiece": "0.2.2", "rich": "unknown"}
    monkeypatch.setattr(packages, "installed", lambda name: versions.get(name, "9.0"))
    assert packages.missing() == ["rich", "sentencepiece"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--minutes", "0"], "more than 0"),
        (["--only", "right,left"], "left: no such part"),
    ],
)
def test_a_wrong_option_is_refused(capsys, words, said):
    with pytest.raises(SystemExit):
        main(["gpu", "--json", "x.json", *words])
    assert said in capsys.readouterr().err


def test_a_device_or_a_folder_that_is_not_there_is_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    place = ["--json", str(tmp_path / "x.json")]
    assert main(["gpu", *place, "--device", "cuda"]) == 2
    assert "no CUDA device" in capsys.readouterr().err
    assert main(["gpu", *place, "--data", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_a_file_that_is_there_is_replaced_only_when_asked_and_only_ours(capsys, tmp_path):
    path = tmp_path / "x.json"
    words = ["gpu", "--json", str(path), "--device", "cpu", "--data", str(tmp_path / "none")]
    for text, said in [
        ('{"mine": 1}', "is no file of the zoo"),
        ('{"head": {}, "command": "", "parts": {}}', "exists already"),
    ]:
        path.write_text(text)
        assert main(words) == 2
        assert said in capsys.readouterr().err
        assert path.read_text() == text
    assert main([*words, "--overwrite"]) == 2
    assert "no such folder" in capsys.readouterr().err

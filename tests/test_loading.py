"""zoo.load: the class that a folder names, with its weights, or one line that says what is wrong."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import typing

import pytest
import torch
from conftest import ROOT
from folder_cases import sign

import zoo
from tasks.classify import Classify
from zoo import device
from zoo.errors import InputError
from zoo.loading import load
from zoo.model_folder.verify import read_config, shipped
from zoo.registry import find_saved


def test_a_folder_is_loaded_as_its_class_ready_to_predict(trained):
    task = load(trained)
    assert type(task) is Classify
    assert not task.training
    assert task.device == torch.device("cpu")
    again = load(str(trained)).state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in task.state_dict().items())


def test_a_name_that_is_neither_folder_nor_shipped_lists_the_shipped_ones():
    with pytest.raises(InputError, match=r"^nowhere: neither a model folder .*classify/langid"):
        load("nowhere")


def test_a_task_that_is_not_known_is_named_with_the_file_and_the_cure(trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"task": "mine"}), "utf-8")
    sign(folder)
    with pytest.raises(InputError) as caught:
        load(folder)
    said = str(caught.value)
    assert said.startswith(f"{folder / 'config.json'}: ")
    assert "'mine'" in said
    assert said.endswith(
        ": register it first with zoo.register(MyTask), or name its file with task=FILE"
    )


THREADS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
import zoo
folder, barrier = sys.argv[1], Barrier(8)
def load(number):
    barrier.wait()
    return zoo.load(folder).predict("Gulls follow the trawler home.")
with ThreadPoolExecutor(8) as pool:
    assert [*pool.map(load, range(8))] == [["sea"]] * 8
"""


def test_predict_computes_in_the_precision_that_load_was_given(monkeypatch):
    monkeypatch.setattr(device, "native_bf16", lambda: True)
    seen = []
    texts = ["Good morning", "a much longer text, of some more words"]
    for precision in ("fp32", "bf16", "auto"):
        model = zoo.load("classify/locale", precision=precision)
        model.backbone.register_forward_hook(
            lambda _, __, encoded: seen.append(encoded.output.dtype)
        )
        assert model.predict(texts) == zoo.load("classify/locale").predict(texts)
        with torch.autocast("cpu", torch.bfloat16):  # of the caller's own
            model.predict(texts)
    low = torch.bfloat16
    assert seen == [torch.float32, low, low, low, low, low]


@pytest.mark.parametrize("precision", ["fp16", "half"])
def test_a_precision_that_the_device_does_not_have_is_refused(precision):
    with pytest.raises(InputError, match=f"precision={precision}"):
        zoo.load("classify/locale", precision=precision)


def test_several_threads_may_load_the_first_model_at_once(trained):
    words = [sys.executable, "-W", "error", "-c", THREADS, str(trained)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_editors_know_the_class_of_every_shipped_model():
    typed = {}
    for one in typing.get_overloads(load):
        assert one.__annotations__.keys() == load.__annotations__.keys()
        names = re.findall('"([^"]+)"', str(one.__annotations__["name"]).replace("'", '"'))
        typed |= dict.fromkeys(names, one.__annotations__["return"])
    wanted = {name: find_saved(read_config(name)["task"]).__name__ for name in shipped()}
    assert typed == wanted
    assert typing.get_overloads(load)[-1].__annotations__["return"] == "Task"


def test_dir_of_the_package_has_every_public_name():
    asked = "import sys, zoo; print(*dir(zoo)); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names, torch_is_there = done.stdout.splitlines()
    assert {*zoo.__all__, "__version__"} <= {*names.split()}
    assert torch_is_there == "False"
    assert all(getattr(zoo, name) is not None for name in zoo.__all__)
    assert zoo.Classify is Classify
    with pytest.raises(AttributeError, match="module 'zoo' has no attribute 'Classifier'"):
        _ = zoo.Classifier

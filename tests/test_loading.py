"""zoo.load: the class that a folder names, with its weights, or one line that says what is wrong."""

import pytest
import torch

from tasks.classify import Classify
from zoo import registry
from zoo.errors import InputError
from zoo.loading import load


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


def test_a_task_that_is_not_there_is_named_with_the_file(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "FOLDER", tmp_path)
    with pytest.raises(InputError) as caught:
        load(trained)
    assert str(caught.value).startswith(f"{trained / 'config.json'}: task=classify: no such task")

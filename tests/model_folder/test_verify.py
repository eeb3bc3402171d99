"""A manipulated model folder is refused with the file's name, and nothing in it is run."""

from __future__ import annotations

import contextlib
import json
import pickle
import re
import shutil
import time
from pathlib import Path

import pytest
import torch
from conftest import DATA, fails
from folder_cases import Bomb, sign, untrained

import zoo
from zoo import run
from zoo.data.processors import PROCESSORS, LabelEncoder, Scaler
from zoo.errors import InputError
from zoo.hub import __main__ as cli
from zoo.hub.retrain import examples
from zoo.model_folder import verify
from zoo.model_folder.format import save_processors
from zoo.model_folder.verify import sha256

TEXTS = ["Gulls follow the trawler home.", "Snow closed the pass for three days."]
SEA = [
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "labels.json",
    "README.md",
    "expected.json",
]
PAIRS = ["config.json", "model.safetensors", "tokenizer.model", "target_tokenizer.model"]
WORDS = ["characters.json", "labels.json", "seen.json"]  # of a tagger
FILES = [
    *(("sea", name) for name in SEA),
    *(("pairs", name) for name in PAIRS),
    *(("fields", name) for name in WORDS),
]
HARMLESS = {"README.md", "expected.json"}
HUGE = 10**15  # a matrix with so many rows fits into no machine


@pytest.fixture(scope="module")
def originals(tmp_path_factory, trained):
    """Save a classifier with expected.json, a translator with two tokenizers, and a tagger."""
    place = tmp_path_factory.mktemp("originals")
    task = zoo.load(trained)
    task.save(place / "sea", task.metadata, "int8", examples(task, TEXTS))
    untrained("tokenizer.shared=false", task="translate").save(place / "pairs")
    untrained(task="tag").save(place / "fields")
    return place


@pytest.fixture
def marker(tmp_path):
    """Return a folder that a planted pickle or module creates when it is run."""
    return tmp_path / "executed"


@pytest.fixture
def copied(originals, tmp_path, marker):
    """Return a function that copies a model folder; check afterwards that nothing was run."""

    def copy(name="sea") -> Path:
        shutil.rmtree(tmp_path / "model", ignore_errors=True)
        return Path(shutil.copytree(originals / name, tmp_path / "model"))

    yield copy
    assert not marker.exists()


@pytest.fixture
def folder(copied):
    return copied("sea")


def harmed(folder, name, harm, marker):
    """Damage one file of a folder."""
    path = folder / name
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[len(data) // 2] ^= 1
    elif harm == "truncate":
        del data[len(data) // 2 :]
    elif harm == "shorten":
        del data[-1]
    elif harm == "empty":
        data.clear()
    elif harm == "pickle":
        data = pickle.dumps(Bomb(marker))
    elif harm == "swap":
        names = sorted(other.name for other in folder.iterdir() if other.suffix != path.suffix)
        data = (folder / names[0]).read_bytes()
    path.write_bytes(data)
    if harm == "torch":
        torch.save(Bomb(marker), path)
    if harm == "remove":
        path.unlink()


HARMS = ["flip", "truncate", "shorten", "empty", "pickle", "torch", "swap", "remove"]


def refused(folder, name) -> str:
    """Return the error message of a folder that is refused; check that it names the file."""
    with pytest.raises(InputError, match=re.escape(name)) as raised:
        zoo.load(folder)
    return str(raised.value)


def edit(folder, section, value, key=None, name="config.json"):
    """Change an entry of a JSON file, or of a section of it, then write the hashes."""
    whole = json.loads((folder / name).read_text("utf-8"))
    (whole if key is None else whole[section])[section if key is None else key] = value
    (folder / name).write_text(json.dumps(whole), "utf-8")
    if name != "manifest.json":
        sign(folder)


def test_what_is_planted_would_go_off(tmp_path, marker):
    pickle.loads(pickle.dumps(Bomb(marker)))
    marker.rmdir()
    torch.save(Bomb(marker), tmp_path / "bomb")
    torch.load(tmp_path / "bomb", weights_only=False)
    marker.rmdir()


def test_the_folders_are_whole_before_they_are_harmed(copied):
    assert zoo.load(copied("sea")).predict(TEXTS) == ["sea", "mountain"]
    assert {path.name for path in copied("sea").iterdir()} == {*SEA, "manifest.json"}
    assert cli.main(["check", str(copied("sea"))]) == 0
    assert len(zoo.load(copied("pairs")).predict(TEXTS)) == 2
    others = {"README.md", "manifest.json"}
    assert {path.name for path in copied("pairs").iterdir()} == {*PAIRS, *others}


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize(("kind", "name"), FILES)
def test_any_harm_to_any_file_is_refused_and_named(copied, marker, kind, name, harm):
    folder = copied(kind)
    harmed(folder, name, harm, marker)
    said = refused(folder, name)
    assert said.startswith(str(folder / name))


@pytest.mark.parametrize("harm", HARMS)
def test_harm_to_the_manifest_is_refused(folder, marker, harm):
    harmed(folder, "manifest.json", harm, marker)
    if harm == "shorten":  # the line end
        assert zoo.load(folder).predict(TEXTS) == ["sea", "mountain"]
    else:
        refused(folder, str(folder))


def test_a_bit_of_the_manifest_is_never_lost(folder):
    path = folder / "manifest.json"
    data = path.read_bytes()
    for place in range(0, len(data.rstrip()), 3):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        refused(folder, str(folder))


@pytest.mark.parametrize("harm", ["truncate", "empty", "pickle", "torch", "swap", "remove"])
@pytest.mark.parametrize(("kind", "name"), FILES)
def test_harm_that_was_signed_is_found_by_the_reader(copied, marker, kind, name, harm):
    folder = copied(kind)
    harmed(folder, name, harm, marker)
    sign(folder)
    if name in HARMLESS:
        assert zoo.load(folder).predict(TEXTS) == ["sea", "mountain"]
    else:
        refused(folder, str(folder) if harm == "remove" else name)


@pytest.mark.parametrize(("kind", "name"), FILES)
def test_a_bit_that_was_signed_is_refused_or_harmless(copied, kind, name):
    folder = copied(kind)
    path = folder / name
    data = path.read_bytes()
    loaded = 0
    places = range(0, len(data), max(1, len(data) // 20))
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        sign(folder)
        try:
            zoo.load(folder)
            loaded += 1
        except InputError as error:
            assert str(folder) in str(error)  # noqa: PT017
    if name in HARMLESS:
        assert loaded == len(places)


@pytest.mark.parametrize("depth", [2_000, 100_000])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "manifest.json"])
@pytest.mark.parametrize("ends", ["[]", '{"a":,}'])
def test_deep_nesting_is_refused(folder, depth, name, ends):
    before, after = ends.split(",") if "," in ends else ends
    (folder / name).write_text(before * depth + after * depth)
    if name != "manifest.json":
        sign(folder)
    refused(folder, name)


@pytest.mark.parametrize("place", ['"metadata": ', '"processors": ', '"config": ', '"format": '])
def test_deep_nesting_inside_the_config_is_refused(folder, place):
    text = (folder / "config.json").read_text()
    assert place in text
    deep = f'{place}{"[" * 5000}{"]" * 5000}, "before": '
    (folder / "config.json").write_text(text.replace(place, deep))
    sign(folder)
    assert "recursion" in refused(folder, "config.json")


@pytest.mark.parametrize("text", [b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"\x00", b"[]", b"{"])
@pytest.mark.parametrize("name", ["config.json", "manifest.json", "tokenizer.json"])
def test_what_is_no_json_object_is_refused(folder, text, name):
    (folder / name).write_bytes(text)
    if name != "manifest.json":
        sign(folder)
    refused(folder, name)


WRONG = [None, True, 3, -1, 2.5, "", "x", [], [1], {}, {"a": 1}, "\0", "../x", "os.system"]


@pytest.mark.parametrize("value", WRONG, ids=repr)
@pytest.mark.parametrize("section", ["task", "backbone", "processors"])
def test_sections_of_a_wrong_type_are_refused(folder, section, value):
    edit(folder, section, value)
    refused(folder, "labels.json" if (section, value) == ("processors", {}) else "config.json")


@pytest.mark.parametrize("value", [v for v in WRONG if v != {}], ids=repr)
@pytest.mark.parametrize("section", ["config", "metadata"])
def test_what_may_be_empty_is_an_object(folder, section, value):
    edit(folder, section, value)
    if (section, value) != ("metadata", {"a": 1}):
        said = refused(folder, "config.json")
        assert section in said or "task.a: no such setting" in said
    else:
        assert zoo.load(folder).metadata == value


@pytest.mark.parametrize("value", [None, 0, 3, -1, 1.5, "2", [2], {"a": 1}, True, 10**30])
def test_another_format_is_refused(folder, value):
    edit(folder, "format", value)
    assert f"format {value}, not 1 or 2" in refused(folder, "config.json")


@pytest.mark.parametrize(
    "value",
    [None, 3, "", "x", "Words", "zoo.text.tokenizers.Words", "subword", "os", [], ["words"], {}],
)
@pytest.mark.parametrize("name", ["tokenizer", "labels", "more"])
def test_an_unknown_kind_of_processor_is_refused(folder, name, value):
    edit(folder, "processors", value, name)
    assert f"processors.{name}: {value!r} is unknown" in refused(folder, "config.json")


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", "A", "a.b.c", "a\0", "config", "manifest", "expected", "a\n", "."]
)
def test_a_processor_has_a_name_that_can_be(folder, name):
    edit(folder, "processors", "labels", name)
    said = refused(folder, "config.json")
    assert f"processors.{name}: no processor can have this name" in said
    with pytest.raises(InputError, match="no processor can have this name"):
        save_processors({name: LabelEncoder(["a"])}, folder)


def test_a_processor_that_the_manifest_does_not_list_is_named(folder):
    edit(folder, "processors", "labels", "topic.labels")
    LabelEncoder(["a"]).save(folder / "topic.labels.json")
    assert "does not list the processor topic.labels.json" in refused(folder, "manifest.json")


def test_a_file_that_the_config_does_not_know_is_named(folder):
    LabelEncoder(["a"]).save(folder / "more.json")
    sign(folder, "more.json")
    assert refused(folder, "more.json").endswith(
        "more.json: manifest.json lists it: no file of a model"
    )


@pytest.mark.parametrize("name", ["labels", "tokenizer"])
def test_a_model_that_lacks_a_processor_is_refused(folder, name):
    config = json.loads((folder / "config.json").read_text("utf-8"))
    kind = config["processors"].pop(name)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    (folder / f"{name}{PROCESSORS[kind].suffix}").unlink()
    sign(folder)
    assert name in refused(folder, "config.json")


def test_a_processor_of_another_kind_is_refused(folder):
    Scaler([0.0], [1.0]).save(folder / "labels.json")
    edit(folder, "processors", "scaler", "labels")
    refused(folder, "config.json")


@pytest.mark.parametrize("files", [[], {}, ["config.json"], {"config.json": "0"}])
def test_a_manifest_lists_config_and_weights(folder, files):
    (folder / "manifest.json").write_text(json.dumps({"files": files}))
    assert "does not list the files of a model" in refused(folder, "manifest.json")


def test_a_tokenizer_of_another_file_is_refused(folder):
    edit(folder, "processors", "subwords", "tokenizer")
    assert "does not list the processor tokenizer.model" in refused(folder, "manifest.json")


@pytest.mark.parametrize("number", [10**19, 10**30, 1e300, float("inf"), float("nan"), 0, -1, "x"])
@pytest.mark.parametrize("key", ["hidden_size", "embedding_size", "vocabulary_size"])
def test_sizes_that_cannot_be_are_refused(folder, key, number):
    edit(folder, "backbone", number, key)
    assert len(refused(folder, "config.json")) < 2000


@pytest.mark.parametrize("key", ["hidden_size", "embedding_size", "num_layers", "bidirectional"])
def test_sizes_that_are_not_those_of_the_weights_are_refused(folder, key):
    edit(folder, "backbone", {"num_layers": 3, "bidirectional": False}.get(key, 17), key)
    said = refused(folder, "model.safetensors")
    assert re.search(r"(size mismatch for|key\(s\) in state_dict:) backbone\.", said)


def test_a_vocabulary_of_another_size_is_refused(folder):
    edit(folder, "backbone", 50, "vocabulary_size")
    assert "the tokenizer has" in refused(folder, str(folder))


@pytest.mark.parametrize(
    ("kind", "section", "key"),
    [
        ("sea", "backbone", "hidden_size"),
        ("sea", "backbone", "embedding_size"),
        ("sea", "backbone", "vocabulary_size"),
        ("pairs", "config", "hidden_size"),
    ],
)
def test_sizes_that_fit_into_no_memory_are_refused(copied, kind, section, key):
    folder = copied(kind)
    edit(folder, section, HUGE, key)
    refused(folder, str(folder))


def test_a_number_of_very_many_digits_is_refused(folder):
    text = (folder / "config.json").read_text()
    digits = f'"format": {"9" * 5000}, "before": '
    (folder / "config.json").write_text(text.replace('"format": ', digits))
    sign(folder)
    refused(folder, "config.json")


@pytest.mark.parametrize(
    ("section", "name"), [("config", "task"), ("backbone", "backbone"), ("config", "generation")]
)
@pytest.mark.parametrize(
    "key", ["_target_", "_args_", "__class__", "surprise", "self", "tokenizer"]
)
def test_no_section_has_a_key_that_is_no_setting(copied, marker, section, name, key):
    folder = copied("pairs")
    value = "os.mkdir" if key == "_target_" else str(marker)
    if name == "generation":
        edit(folder, "config", {key: value}, "generation")
    else:
        edit(folder, section, value, key)
    assert f"{name}.{key}: no such setting" in refused(folder, "config.json")


@pytest.mark.parametrize("key", ["_target_", "model", "auto_map", "surprise", ""])
def test_the_config_has_no_other_keys(folder, key):
    edit(folder, key, "os.mkdir")
    assert f"unknown or missing key {key!r}" in refused(folder, "config.json")


@pytest.mark.parametrize("key", ["format", "task", "config", "backbone", "processors", "metadata"])
def test_a_config_that_lacks_a_key_is_refused(folder, key):
    config = json.loads((folder / "config.json").read_text())
    del config[key]
    (folder / "config.json").write_text(json.dumps(config))
    sign(folder)
    assert f"unknown or missing key {key!r}" in refused(folder, "config.json")


def test_metadata_are_only_read(folder, marker):
    call = {"_target_": "os.mkdir", "_args_": [str(marker)]}
    edit(folder, "metadata", call | {"test": {"accuracy": None}, "name": "../../x"})
    assert zoo.load(folder).predict(TEXTS) == ["sea", "mountain"]


@pytest.mark.parametrize("name", ["evil", "tasks.evil", "tasks/evil", "evil.py", "./evil", "run"])
def test_code_that_lies_in_the_folder_is_not_found(folder, marker, monkeypatch, name):
    code = f"import os\nos.mkdir({str(marker)!r})\n"
    for place in ("evil.py", "tasks/evil.py", "run.py", "tasks/classify.py", "zoo/text.py"):
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_text(code)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    assert zoo.load(".").predict(TEXTS) == ["sea", "mountain"]
    edit(folder, "task", name)
    assert "which is not one of the zoo" in refused(Path("."), "config.json")


OUTSIDE = [
    "../outside",
    "a/../../outside",
    "/outside",
    "sub/file",
    "a\\b",
    "..\\outside",
    "..",
    ".",
    "./config.json",
    "config.json/",
    "manifest.json",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_manifest_lists_files_of_its_own_folder_alone(folder, name, tmp_path):
    (folder / "sub").mkdir()
    for place in (tmp_path / "outside", folder / "sub/file", folder / "a\\b"):
        place.write_text("x")
    listed = str(tmp_path / "outside") if name == "/outside" else name
    there = folder / listed
    edit(folder, "files", sha256(there) if there.is_file() else "0", listed, "manifest.json")
    assert "manifest.json lists it: no file of a model" in refused(folder, str(there))


@pytest.mark.parametrize("name", ["target_tokenizer.json", "tokenizer.model"])
def test_a_listed_file_that_is_not_there_is_named(folder, name):
    edit(folder, "files", "0" * 64, name, "manifest.json")
    assert refused(folder, str(folder / name)).endswith("missing")


@pytest.mark.parametrize(
    "name",
    ["", "a\0b", "nothing", "CONFIG.JSON ", "x" * 300, "evil.py", "pytorch_model.bin", "notes.txt"],
)
def test_a_manifest_lists_no_other_files(folder, name):
    if name.isprintable() and 0 < len(name) < 100:
        (folder / name).write_text("x")
    edit(folder, "files", "0" * 64, name, "manifest.json")
    assert refused(folder, str(folder / name)).endswith("no file of a model")


@pytest.mark.parametrize(
    "name",
    ["pytorch_model.bin", "target_tokenizer.json", "tokenizer.model", "x.PT", "more.safetensors"],
)
def test_a_file_of_a_model_that_is_not_listed_is_refused(folder, marker, name):
    (folder / name).write_bytes(pickle.dumps(Bomb(marker)))
    assert "manifest.json does not list it" in refused(folder, name)


@pytest.mark.parametrize("name", ["README.md", "expected.json"])
def test_a_harmless_file_of_the_model_is_listed_too(folder, name):
    files = json.loads((folder / "manifest.json").read_text())["files"]
    del files[name]
    (folder / "manifest.json").write_text(json.dumps({"files": files}))
    assert "manifest.json does not list it" in refused(folder, name)


def test_what_a_run_and_a_user_put_beside_a_model_is_no_part_of_it(folder):
    for name in ("report.json", "metrics.jsonl", "learning-curve.png", "answers.csv", ".DS_Store"):
        (folder / name).write_text("{")
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "checkpoint.pt").write_text("x")
    assert zoo.load(folder).predict(TEXTS) == ["sea", "mountain"]


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "labels.json", "manifest.json"]
)
def test_a_link_out_of_the_folder_is_refused(folder, tmp_path, name):
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    assert "a link out of the folder" in refused(folder, name)


def test_a_link_inside_the_folder_is_followed(folder):
    (folder / "README.md").rename(folder / ".readme")
    (folder / "README.md").symlink_to(".readme")
    assert zoo.load(folder).predict(TEXTS) == ["sea", "mountain"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", '"format": 2, "format": 2'),
        ("config.json", '"metadata": {"a": {"b": 1, "b": 1}}, "format": 2'),
        ("config.json", '"format": 2, "other": NaN'),
        ("config.json", '"other": {"loss": -Infinity}, "format": 2'),
        ("config.json", '"other": {"loss": 1e999}, "format": 2'),
        ("labels.json", '"counts": null, "counts": null, "labels"'),
    ],
)
def test_a_key_stands_once_and_numbers_are_finite(folder, name, text):
    path = folder / name
    place = '"labels"' if name == "labels.json" else '"format": 2'
    assert place in path.read_text()
    path.write_text(path.read_text().replace(place, text, 1))
    sign(folder)
    wrong = "no finite number" if "other" in text else "stands twice"
    assert wrong in refused(folder, name)


def test_a_label_stands_once(folder):
    edit(folder, "labels", ["sea", "sea"], name="labels.json")
    assert "distinct labels" in refused(folder, "labels.json")


def test_a_number_that_is_not_finite_is_saved_as_null(folder):
    task = zoo.load(folder)
    task.save(folder, {"test": {"perplexity": float("inf"), "rows": [float("nan"), 1]}})
    assert zoo.load(folder).metadata == {"test": {"perplexity": None, "rows": [None, 1]}}


WILD = [  # section, key, value: what they ask for would take hours or fill the memory
    ("backbone", "num_layers", 100_000),
    ("backbone", "num_layers", 10**12),
    ("backbone", "hidden_size", 20_000),
    ("backbone", "hidden_size", 10**9),
    ("backbone", "embedding_size", 10**8),
    ("backbone", "vocabulary_size", 10**9),
    ("backbone", "input_size", 10**9),
    ("config", "max_length", 10**40),
    ("config", "pool", ["merged"] * 100_000),
    ("metadata", "x", [[]] * 20_000_000),
]


@pytest.mark.parametrize(("section", "key", "value"), WILD, ids=[f"{s}.{k}" for s, k, _ in WILD])
def test_a_wild_config_costs_nothing(folder, section, key, value):
    edit(folder, section, value, key)
    before = time.perf_counter()
    if key == "max_length":
        with contextlib.suppress(InputError):
            zoo.load(folder)
    else:
        said = refused(folder, str(folder))
        assert key != "num_layers" or key in said
    assert time.perf_counter() - before < 5


def test_loading_and_predicting_draw_nothing_from_the_global_generator(copied):
    for kind in ("sea", "pairs", "fields"):
        folder = copied(kind)
        before = torch.get_rng_state()
        zoo.load(folder).predict(TEXTS)
        assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("key", "value"),
    [("train", "${oc.env:HOME}"), ("x y", "1"), ("hydra.run.dir", "x"), ("train", {"a": 1})],
)
def test_data_settings_of_a_stranger_reach_no_configuration(folder, capsys, key, value):
    edit(folder, "metadata", {"name": "files", key: value}, "data_settings")
    said = fails(capsys, "mode=evaluate", f"model={folder}")
    assert "metadata.data_settings" in said


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("pairs", "hidden_size", 60_000),
        ("fields", "character_hidden", 60_000),
        ("fields", "character_embedding", 60_000),
    ],
)
def test_wild_sizes_of_a_task_are_compared_with_its_weights(copied, kind, key, value):
    folder = copied(kind)
    edit(folder, "config", value, key)
    assert "size mismatch" in refused(folder, "model.safetensors")


@pytest.mark.parametrize("count", [20_000, 200_000])
def test_labels_without_a_weight_are_refused_before_anything_is_built(folder, count):
    labels = [*map(str, range(count))]
    LabelEncoder(labels).save(folder / "labels.json")
    sign(folder)
    assert "no tensor has them" in refused(folder, "labels")


@pytest.mark.parametrize("digest", [None, 5, [], {}, "", "0" * 64, True])
@pytest.mark.parametrize("name", SEA)
def test_a_hash_is_that_of_the_file(folder, name, digest):
    edit(folder, "files", digest, name, "manifest.json")
    assert "sha256 differs" in refused(folder, name)


@pytest.mark.parametrize("name", SEA)
def test_a_folder_in_the_place_of_a_file_is_refused(folder, name):
    (folder / name).unlink()
    (folder / name).mkdir()
    assert refused(folder, name).endswith("missing")


@pytest.mark.parametrize("name", ["sea", "pairs"])
def test_the_weights_of_another_model_are_refused(copied, originals, name):
    folder = copied(name)
    other = originals / ("pairs" if name == "sea" else "sea")
    shutil.copy(other / "model.safetensors", folder)
    refused(folder, "model.safetensors")
    sign(folder)
    assert "key(s) in state_dict" in refused(folder, "model.safetensors")


HEADERS = [
    ("dtype", "X9", "X9"), ("dtype", "F8_E8M0", ""), ("dtype", "U64", ""), ("dtype", "BF16", ""),
    ("shape", [10**18], ""), ("shape", [-1], ""), ("shape", "x", ""), ("shape", [2, 2], ""),
    ("data_offsets", [0, 10**15], ""), ("data_offsets", [4, 0], ""), ("data_offsets", [0, 8], ""),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "said"), HEADERS)
def test_a_header_of_the_weights_that_lies_is_refused(folder, key, value, said):
    path = folder / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["head.bias"][key] = value
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    sign(folder)
    assert said in refused(folder, "model.safetensors")


@pytest.mark.parametrize("length", [0, 10, 2**31, 2**63, 2**64 - 1])
def test_a_header_of_a_wrong_length_is_refused(folder, length):
    path = folder / "model.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + path.read_bytes()[8:])
    sign(folder)
    refused(folder, "model.safetensors")


@pytest.mark.parametrize(
    "name", ["", "a b", "{", "../x", "x,y", "[a]", "${oc.env:HOME}", "evil", "a=b", "shared", "\n"]
)
def test_the_command_line_refuses_a_strange_task_in_one_line(folder, capsys, name):
    edit(folder, "task", name)
    assert fails(capsys, "mode=predict", f"model={folder}", "text=the sea")


def test_the_command_line_names_a_changed_file(folder, marker, capsys):
    harmed(folder, "model.safetensors", "flip", marker)
    said = fails(capsys, "mode=predict", f"model={folder}", "text=the sea")
    assert said.startswith(f"{folder / 'model.safetensors'}: its contents are not those")
    assert cli.main(["check", str(folder)]) == 2
    assert "model.safetensors: its contents" in capsys.readouterr().err


@pytest.mark.parametrize("value", [None, 3, "x", ["beam_size"]])
def test_the_command_line_refuses_an_invalid_generation_config(copied, capsys, value):
    folder = copied("pairs")
    edit(folder, "config", value, "generation")
    assert "generation" in fails(capsys, "mode=predict", f"model={folder}", "text=the sea")


@pytest.mark.parametrize("value", ["fp8", None, 5, ["fp32"]])
def test_a_precision_that_is_none_is_refused(folder, capsys, value):
    edit(folder, "metadata", value, "test_precision")
    data = ["data=files", f"data.train={DATA / 'classify.jsonl'}", "device=cpu"]
    assert "precision" in fails(capsys, "mode=evaluate", f"model={folder}", *data)


@pytest.mark.parametrize(
    ("text", "signed"),
    [("", False), ("{", False), *((text, True) for text in ("", "{", "5", '[{"x": 1}]', "[[]]"))],
)
def test_expected_answers_that_are_none_are_named(folder, capsys, text, signed):
    (folder / "expected.json").write_text(text)
    if signed:
        sign(folder)
    assert cli.main(["check", str(folder)]) == 2
    assert "expected.json" in capsys.readouterr().err


def test_a_check_counts_what_is_answered_otherwise(folder, capsys):
    cases = json.loads((folder / "expected.json").read_text())
    cases[1]["answer"] = "harbour"
    (folder / "expected.json").write_text(json.dumps(cases))
    sign(folder)
    assert cli.main(["check", str(folder)]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        f"{folder}: 1 of 2 answers as expected",
        f"  {TEXTS[1]}: harbour, now mountain",
    ]


def test_the_run_reads_no_folder_without_a_manifest(folder, capsys):
    (folder / "manifest.json").unlink()
    said = fails(capsys, "mode=predict", f"model={folder}", "text=the sea")
    assert said == f"{folder}: no manifest.json: no model"
    with pytest.raises(InputError, match=r"no manifest\.json"):
        verify.read_config(folder)
    assert run.main(["--help"]) == 0

"""Push and pull: a model folder is transferred complete and verified, or not at all."""

from __future__ import annotations

import inspect
import json
import os
import pickle
import shutil
import sys
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import pytest
from folder_cases import untrained

import zoo
from zoo.errors import InputError
from zoo.hub import __main__ as cli
from zoo.hub import remote
from zoo.hub.remote import pull, push
from zoo.model_folder import verify
from zoo.model_folder.verify import sha256

FILES = ["config.json", "model.safetensors", "tokenizer.json", "labels.json", "README.md"]
REPOSITORY = "owner/toy"
COMMIT = "c0ffee"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Write an untrained model, beside the other files of a run's folder."""
    folder = tmp_path_factory.mktemp("original") / "model"
    untrained("tokenizer.kind=words", task="classify").save(folder)
    for name in ("report.json", "curve.png", "private.txt", ".hidden"):
        (folder / name).write_text("not the model's")
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "checkpoint.pt").write_text("nor this")
    return folder


@pytest.fixture
def model(original, tmp_path):
    return Path(shutil.copytree(original, tmp_path / "model"))


class Hub:
    """A fake hub in a folder. It records its calls, and `harm` changes its answers."""

    def __init__(self, place: Path) -> None:
        self.place, self.asked, self.harm = place, [], {}
        self.commits = iter([COMMIT, "later", "later still"])

    def HfApi(self):
        return self

    def spoil(self, name):
        if name in self.harm:
            raise self.harm[name]

    def model_info(self, repo, revision=None):
        self.spoil("model_info")
        self.asked.append(("model_info", repo, revision))
        return type("Info", (), {"sha": next(self.commits)})

    def hf_hub_download(self, repo, name, revision=None, local_dir=None):
        self.asked.append((name, repo, revision))
        self.spoil(name)
        notes = Path(local_dir) / ".cache" / "huggingface"
        notes.mkdir(parents=True, exist_ok=True)
        (notes / f"{name}.metadata").write_text("fetched")
        shutil.copyfile(self.place / repo / name, Path(local_dir) / name)
        return str(Path(local_dir) / name)

    def list_repo_files(self, repo):
        return [path.name for path in (self.place / repo).iterdir()]

    def create_repo(self, repo, exist_ok=False):
        self.spoil("create_repo")
        assert exist_ok
        (self.place / repo).mkdir(parents=True, exist_ok=True)

    def upload_folder(self, repo_id, folder_path, allow_patterns, delete_patterns, commit_message):
        self.spoil("upload_folder")
        self.asked.append(("upload", repo_id, commit_message))
        for path in [*(self.place / repo_id).iterdir()]:
            if any(fnmatch(path.name, pattern) for pattern in delete_patterns):
                path.unlink()
        for path in Path(folder_path).rglob("*"):
            name = path.relative_to(folder_path).as_posix()
            if path.is_file() and any(fnmatch(name, pattern) for pattern in allow_patterns):
                shutil.copyfile(path, self.place / repo_id / name)
        return type("Commit", (), {"commit_url": f"https://hub/{repo_id}/commit/1"})


@pytest.fixture
def online(tmp_path, monkeypatch):
    """Put the fake hub in place of the real one."""
    fake = Hub(tmp_path / "hub")
    for name in ("HfApi", "hf_hub_download"):
        monkeypatch.setattr(huggingface_hub, name, getattr(fake, name))
    monkeypatch.chdir(tmp_path)
    return fake


@pytest.fixture(params=["folder", "hub"])
def source(request, original, tmp_path):
    """Return the name to pull from, and the folder behind it."""
    if request.param == "hub":
        online = request.getfixturevalue("online")
        shutil.copytree(original, online.place / REPOSITORY)
        return REPOSITORY, online.place / REPOSITORY
    shutil.copytree(original, tmp_path / "source")
    return str(tmp_path / "source"), tmp_path / "source"


def sign(folder, *more):
    """Write a manifest with the present hashes; names in `more` get no hash."""
    files = {name: sha256(folder / name) for name in FILES if (folder / name).is_file()}
    files |= dict.fromkeys(more, "0" * 64)
    (folder / "manifest.json").write_text(json.dumps({"files": files}))


def state(folder) -> dict:
    """Return the contents of all files in a folder, by path."""
    paths = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): p.is_file() and p.read_bytes() for p in paths}


def not_pulled(source, place, message) -> None:
    """Check that a failed pull raises the message and leaves all files as they were."""
    before = state(place.parent)
    with pytest.raises(InputError, match=message) as caught:
        pull(source, place)
    assert f".{place.name}." not in str(caught.value)  # the temporary copy, which is gone
    assert state(place.parent) == before


def test_what_is_asked_of_the_hub_is_what_it_takes():
    """The fake hub has only parameters that the real hub has."""
    api = huggingface_hub.HfApi
    for real, name in (
        (api.model_info, "model_info"),
        (api.create_repo, "create_repo"),
        (api.upload_folder, "upload_folder"),
    ):
        assert {*parameters(getattr(Hub, name))} - {"repo"} <= {*parameters(real)}
        assert [*parameters(real)][:2] == ["self", "repo_id"]
    assert [*parameters(huggingface_hub.hf_hub_download)][:2] == ["repo_id", "filename"]
    assert {"revision", "local_dir"} <= {*parameters(huggingface_hub.hf_hub_download)}


def parameters(function):
    return inspect.signature(function).parameters


# fetching


def test_a_model_is_fetched_with_the_files_that_its_manifest_lists(source, original, tmp_path):
    name, _ = source
    assert pull(name, tmp_path / "here") == tmp_path / "here"
    assert {path.name for path in (tmp_path / "here").iterdir()} == {*FILES, "manifest.json"}
    for file in (*FILES, "manifest.json"):
        assert (tmp_path / "here" / file).read_bytes() == (original / file).read_bytes()
    texts = ["the sea", ""]
    assert zoo.load(tmp_path / "here").predict(texts) == zoo.load(original).predict(texts)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_folders_above_a_model_are_made(source, tmp_path):
    assert pull(source[0], tmp_path / "a" / "b" / "here") == tmp_path / "a" / "b" / "here"
    assert [*(tmp_path / "a" / "b").iterdir()] == [tmp_path / "a" / "b" / "here"]


def test_nothing_is_fetched_over_what_is_there(source, model, tmp_path):
    (tmp_path / "file").write_text("x")
    for name in ("model", "file"):
        not_pulled(source[0], tmp_path / name, f"{name}: exists already")


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_file_that_is_missing_there_is_named(source, tmp_path, name):
    (source[1] / name).unlink()
    not_pulled(source[0], tmp_path / "here", name)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_was_changed_there_is_named(source, tmp_path, name):
    data = bytearray((source[1] / name).read_bytes())
    data[len(data) // 3] ^= 4
    (source[1] / name).write_bytes(data)
    not_pulled(source[0], tmp_path / "here", f"{name}: its contents are not those")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_file_that_was_changed_and_signed_is_refused_and_not_run(source, tmp_path, name):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    (source[1] / name).write_bytes(pickle.dumps(Bomb()))
    sign(source[1])
    not_pulled(source[0], tmp_path / "here", name)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "name",
    ["../private.txt", "/etc/hostname", "checkpoint/checkpoint.pt", "..", "a\\b", "manifest.json"],
)
def test_what_a_manifest_lists_elsewhere_is_not_even_asked_for(request, source, tmp_path, name):
    sign(source[1], name)
    not_pulled(source[0], tmp_path / "here", "lists it: no file of a model")
    if source[0] == REPOSITORY:
        assert [file for file, *_ in request.getfixturevalue("online").asked] == [
            "model_info",
            "manifest.json",
        ]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": ["config.json"]}', '{"files": {}}'])
def test_a_manifest_that_is_none_is_named(source, tmp_path, text):
    (source[1] / "manifest.json").write_text(text)
    not_pulled(source[0], tmp_path / "here", r"manifest\.json")


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt(), RuntimeError("torn")])
@pytest.mark.parametrize("at", [1, 3, "load", "name"])
def test_a_failure_on_the_way_leaves_nothing(original, tmp_path, monkeypatch, at, error):
    real, copies = shutil.copyfile, []

    def copy(one, two):
        copies.append(real(one, two))
        if len(copies) == at:
            Path(two).write_text("half")
            raise error

    def fail(*_):
        raise error

    monkeypatch.setattr("zoo.hub.remote.shutil.copyfile", copy)
    if at == "load":
        monkeypatch.setattr(remote, "load", fail)
    if at == "name":
        monkeypatch.setattr("pathlib.Path.rename", fail)
    with pytest.raises(type(error)):
        pull(str(original), tmp_path / "here")
    assert [*tmp_path.iterdir()] == []
    assert copies


def test_a_model_is_seen_under_its_name_only_when_it_has_been_loaded(source, tmp_path, monkeypatch):
    real, seen = remote.load, []
    monkeypatch.setattr(remote, "load", lambda place: seen.append(place) or real(place))
    wanted = pull(source[0], tmp_path / "here")
    (place,) = seen
    assert place != wanted
    assert not place.exists()


def test_all_files_are_of_one_revision(online, model, tmp_path):
    push(model, REPOSITORY)
    for revision, commit in ((None, COMMIT), ("v1", "later")):
        online.asked.clear()
        pull(REPOSITORY, tmp_path / f"here-{revision}", revision)
        assert online.asked[0] == ("model_info", REPOSITORY, revision)
        assert online.asked[1] == ("manifest.json", REPOSITORY, commit)
        assert {(repo, at) for _, repo, at in online.asked[1:]} == {(REPOSITORY, commit)}
        assert sorted(name for name, *_ in online.asked[2:]) == sorted(FILES)


TORN = LookupError("Cannot reach the hub.\n\nRequest ID: 17\nTry again.")


@pytest.mark.parametrize("at", ["model_info", "manifest.json", *FILES])
def test_what_the_hub_complains_of_is_said_in_one_line(online, model, tmp_path, capsys, at):
    push(model, REPOSITORY)
    online.harm[at] = TORN
    before = state(tmp_path)
    capsys.readouterr()
    assert cli.main(["pull", REPOSITORY, str(tmp_path / "here")]) == 2
    file = "" if at == "model_info" else f": {at}"
    said = f"error: {REPOSITORY}{file}: Cannot reach the hub.\n"
    assert capsys.readouterr() == ("", said)
    assert state(tmp_path) == before


def test_an_error_without_words_is_named_by_its_kind(online, tmp_path):
    online.harm["model_info"] = PermissionError()
    not_pulled(REPOSITORY, tmp_path / "here", f"^{REPOSITORY}: PermissionError$")


def test_an_interrupted_fetch_leaves_nothing(online, model, tmp_path, capsys):
    push(model, REPOSITORY)
    online.harm["model.safetensors"] = KeyboardInterrupt()
    before = state(tmp_path)
    assert cli.main(["pull", REPOSITORY, str(tmp_path / "here")]) == 2
    assert "interrupted" in capsys.readouterr().err
    assert state(tmp_path) == before


def test_the_hub_without_its_extra_says_how_to_install_it(monkeypatch, model, tmp_path):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    said = r'^the hub needs: pip install "sequence-zoo\[hub\]"$'
    not_pulled("owner/none", tmp_path / "here", said)
    with pytest.raises(InputError, match=said):
        push(model, "owner/none")


def test_a_folder_of_that_name_goes_before_the_hub(online, original, tmp_path):
    pull(str(original), tmp_path / REPOSITORY)
    pull(REPOSITORY, tmp_path / "here")
    assert push(tmp_path / "here", REPOSITORY, overwrite=True) == REPOSITORY
    with pytest.raises(InputError, match=r"nothing/there/manifest\.json: missing"):
        pull("./nothing/there", tmp_path / "second")
    assert online.asked == []


def test_a_model_that_was_pulled_is_loaded_by_its_name(
    online, model, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    missing = (
        rf"^{REPOSITORY}: neither .*; if it is on the hub: python -m zoo.hub pull {REPOSITORY}$"
    )
    with pytest.raises(InputError, match=missing):
        zoo.load(REPOSITORY)
    assert online.asked == []  # nothing is fetched that was not asked for
    push(model, REPOSITORY)
    for _ in range(2):  # the second time in the place of the first
        assert cli.main(["pull", REPOSITORY]) == 0
        place, said = capsys.readouterr().out.splitlines()
        assert place == str(tmp_path / "cache/sequence-zoo/models" / REPOSITORY)
        assert said == f"zoo.load('{REPOSITORY}') and model={REPOSITORY} find it there"
    asked = len(online.asked)
    assert zoo.load(REPOSITORY).name == "classify"
    assert len(online.asked) == asked
    with pytest.raises(
        InputError, match=r"^classify/langid: a shipped model has this name: say wh"
    ):
        pull("classify/langid")
    with pytest.raises(
        InputError, match=r"model: is no OWNER/NAME of the hub: say where to, add FO"
    ):
        pull(str(model))


@pytest.mark.parametrize("name", ["a", "/a/b", "a/b/c", "./a/b", "../a", "a/", "-a/b", "a b/c", ""])
def test_what_is_no_name_of_a_repository_is_a_folder(online, tmp_path, name):
    with pytest.raises(InputError, match=r"manifest\.json: missing"):
        pull(name, tmp_path / "here")
    assert online.asked == []


# sending


def test_a_model_goes_to_a_folder_and_comes_back(model, tmp_path):
    place = tmp_path / "deep" / "shared"
    assert push(model, str(place)) == str(place)
    assert {path.name for path in place.iterdir()} == {*FILES, "manifest.json"}
    assert [*place.parent.iterdir()] == [place]
    pull(str(place), tmp_path / "back")
    assert state(tmp_path / "back") == state(place)
    assert zoo.load(place).metadata == zoo.load(model).metadata


def test_a_model_goes_to_the_hub_with_its_own_files_alone(online, model, tmp_path):
    there = online.place / REPOSITORY
    there.mkdir(parents=True)
    (there / ".gitattributes").write_text("of the hub")
    assert push(model, REPOSITORY) == f"https://hub/{REPOSITORY}/commit/1"
    (there / ".gitattributes").unlink()
    assert {path.name for path in there.iterdir()} == {*FILES, "manifest.json"}
    pull(REPOSITORY, tmp_path / "back")
    assert state(tmp_path / "back") == state(there)


def test_files_of_others_on_the_hub_stay(online, model, tmp_path):
    there = online.place / REPOSITORY
    there.mkdir(parents=True)
    (there / "data.txt").write_text("of others")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"holds data\.txt, and no model"):
            push(model, REPOSITORY, overwrite)
    assert state(there) == {"data.txt": b"of others"}
    (there / "data.txt").unlink()
    push(model, REPOSITORY)
    (there / "data.txt").write_text("of others")
    before = state(there)
    with pytest.raises(InputError, match="holds a model already: --overwrite replaces it"):
        push(model, REPOSITORY)
    assert state(there) == before
    task = zoo.load(model)
    task.metadata = {"name": "newer"}
    task.save(model, expected=[{"input": "a", "answer": "b"}])
    push(model, REPOSITORY, overwrite=True)
    after = state(there)
    assert after["data.txt"] == b"of others"
    assert after["config.json"] == (model / "config.json").read_bytes()

    zoo.load(model).save(model)  # without expected.json
    push(model, REPOSITORY, overwrite=True)
    assert state(there).keys() == {*FILES, "manifest.json", "data.txt"}
    (there / "expected.json").write_text("of others")
    task.save(model, expected=[{"input": "a", "answer": "b"}])
    with pytest.raises(InputError, match=r"expected\.json there is no file of its model"):
        push(model, REPOSITORY, overwrite=True)
    assert (there / "expected.json").read_text() == "of others"


def test_a_shipped_model_is_sent_by_its_name(model, tmp_path, monkeypatch):
    monkeypatch.setattr(verify, "SHIPPED", tmp_path)
    assert push("model", str(tmp_path / "to")) == str(tmp_path / "to")
    assert (tmp_path / "to" / "manifest.json").is_file()
    with pytest.raises(InputError, match="neither a model folder nor a shipped model"):
        push("nothing", str(tmp_path / "to"))


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("to", [REPOSITORY, "folder"])
def test_what_does_not_load_is_not_sent(online, model, tmp_path, to, signed):
    if signed:
        (model / "tokenizer.json").write_text("[]")
        sign(model)
    else:
        (model / "model.safetensors").write_bytes(b"")
    before = state(tmp_path)
    with pytest.raises(InputError, match=r"tokenizer\.json" if signed else "safetensors"):
        push(model, to)
    assert state(tmp_path) == before
    assert online.asked == []


def test_an_older_model_is_replaced_as_a_whole_if_asked(model, tmp_path):
    to = tmp_path / "to"
    push(model, str(to))
    before = state(tmp_path)
    with pytest.raises(InputError, match=r"to: exists already: .*; --overwrite replaces a model"):
        push(model, str(to))
    assert state(tmp_path) == before
    task = zoo.load(model)
    task.metadata = {"name": "newer"}
    task.save(model)
    push(model, str(to), overwrite=True)
    assert {path.name for path in to.iterdir()} == {*FILES, "manifest.json"}
    assert zoo.load(to).metadata == {"name": "newer"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "to"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["file", "other", "more", "changed", "manifest", "link"])
def test_what_is_no_model_is_not_replaced(model, tmp_path, kind, overwrite):
    place = tmp_path / "to"
    if kind == "file":
        place.write_text("x")
    elif kind in ("more", "changed"):
        push(model, str(place))
    elif kind == "link":
        place.symlink_to("nowhere")
    else:
        place.mkdir()
    if kind in ("other", "more", "manifest"):
        (place / ("manifest.json" if kind == "manifest" else "thesis.txt")).write_text("of years")
    if kind == "changed":
        (place / "README.md").write_text("my notes")
    before = state(tmp_path)
    with pytest.raises(InputError, match="to: exists already"):
        push(model, str(place), overwrite)
    assert state(tmp_path) == before


def test_an_empty_folder_is_filled_and_a_link_to_it_stays(model, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    push(model, str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    assert zoo.load(tmp_path / "real").predict(["the sea"])


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", [1, 4])
def test_a_copy_that_fails_leaves_the_older_model(model, tmp_path, monkeypatch, at, error):
    push(model, str(tmp_path / "to"))
    before, real, copies = state(tmp_path), shutil.copyfile, []

    def copy(one, two):
        copies.append(two)
        if len(copies) == at:
            raise error
        return real(one, two)

    monkeypatch.setattr("zoo.hub.remote.shutil.copyfile", copy)
    with pytest.raises(type(error)):
        push(model, str(tmp_path / "to"), overwrite=True)
    assert len(copies) == at
    assert state(tmp_path) == before


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_a_name_that_cannot_be_given_leaves_the_older_model(model, tmp_path, monkeypatch, error):
    push(model, str(tmp_path / "to"))
    before, real, names = state(tmp_path), Path.rename, []

    def rename(self, target):
        names.append(target)
        if len(names) == 2:
            raise error
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(type(error)):
        push(model, str(tmp_path / "to"), overwrite=True)
    assert state(tmp_path) == before


def test_a_run_that_is_sent_to_itself_stays(model, tmp_path):
    before = state(model)
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"holds \.hidden, which is no file of a model"):
            push(model, str(model), overwrite)
    assert state(model) == before


@pytest.mark.parametrize("at", ["create_repo", "upload_folder"])
def test_what_the_hub_refuses_to_take_is_said_in_one_line(online, model, capsys, at):
    online.harm[at] = TORN
    assert cli.main(["push", str(model), REPOSITORY]) == 2
    assert capsys.readouterr() == ("", f"error: {REPOSITORY}: Cannot reach the hub.\n")


# the command


def test_the_command_prints_where_a_model_is(model, tmp_path, capsys):
    assert cli.main(["push", str(model), str(tmp_path / "to")]) == 0
    assert cli.main(["pull", str(tmp_path / "to"), str(tmp_path / "here")]) == 0
    assert capsys.readouterr() == (f"{tmp_path / 'to'}\n{tmp_path / 'here'}\n", "")
    assert cli.main(["check", str(tmp_path / "here")]) == 0


def test_the_command_fetches_the_revision_it_is_given(online, model, tmp_path, capsys):
    assert cli.main(["push", str(model), REPOSITORY]) == 0
    assert cli.main(["pull", REPOSITORY, str(tmp_path / "here"), "--revision", "v2"]) == 0
    printed = capsys.readouterr().out
    assert printed == f"https://hub/{REPOSITORY}/commit/1\n{tmp_path / 'here'}\n"
    assert ("model_info", REPOSITORY, "v2") in online.asked


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pull", "nowhere", "here"], "nowhere/manifest.json: missing"),
        (
            ["pull", "model", "model"],
            "model: exists already, and holds .hidden, which is no file of a model",
        ),
        (["push", "nowhere", "there"], "nowhere: neither a model folder nor a shipped model"),
        (
            ["push", "model", "model/checkpoint"],
            "checkpoint: exists already, and holds checkpoint.pt",
        ),
        (["push", "model/checkpoint", "there"], "model/checkpoint: no manifest.json: no model"),
        (["push", "model", "model/README.md/x"], "File exists"),
    ],
)
def test_the_command_ends_with_one_line_and_status_2(
    model, tmp_path, monkeypatch, capsys, words, said
):
    monkeypatch.chdir(tmp_path)
    before = state(tmp_path)
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert (out, err[:7], err.count("\n")) == ("", "error: ", 1)
    assert said in err
    assert state(tmp_path) == before

"""The command line: every mode, and one clear line with exit status 2 for what goes wrong."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import typing

import pytest
import torch
import yaml
from conftest import DATA, ROOT, SMALL, arguments, command, fails, lines, settings, write
from folder_cases import sign

import zoo
from tasks.classify import ClassifyConfig
from zoo import run
from zoo.cli.completion import PROGRAMS
from zoo.config import SECTIONS, Settings
from zoo.data.corpora import open_corpus
from zoo.generation.config import GenerationConfig
from zoo.nn.backbone import BackboneConfig
from zoo.training.build import build
from zoo.training.options import options_of

TOY = str(DATA / "classify.jsonl")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["train.epoch=3"], "train.epoch: no such setting; did you mean train.epochs?"),
        (["data.train=a.csv"], "data.train: add data=files; data=columns, data=hub, "),
        (["data.features=[x]"], "data.features: add data=sequences"),
        (["data=imdb", "data.train=a.csv"], "data.train: no such setting"),
        (["search.beam=3"], "search.beam: no such setting; did you mean generation.beam_size?"),
        (["search.top_k=3"], "search.top_k: no such setting; did you mean generation.top_k?"),
        (["train.clip=1"], "train.clip: no such setting; did you mean train.grad_clip?"),
        (["train.average=0"], "train.average: no such setting; did you mean train.ema_decay?"),
        (["train.share=0.1"], "train.share: no such setting; did you mean train.fraction?"),
        (
            ["train.vectors=true"],
            "train.vectors: no such setting; did you mean train.init_embeddings?",
        ),
        (["tsk=classify"], "tsk: no such setting; did you mean task?"),
        (["+extra=1"], "extra: no such setting"),
        (["train.epochs=many"], "train.epochs=many: Input should be a valid integer"),
        (["train.epochs=0"], "train.epochs=0: Input should be greater than or equal to 1"),
        (["train.fraction=0"], "train.fraction=0: Input should be greater than 0"),
        (["train.fraction=1.1"], "train.fraction=1.1: Input should be less than or equal to 1"),
        (["train.freeze=head"], "train.freeze=head: Input should be 'none', 'backbone' or"),
        (["train.backbone_rate=0"], "train.backbone_rate=0: Input should be greater than 0"),
        (["train.backbone_rate=-1"], "train.backbone_rate=-1: Input should be greater than 0"),
        (["task.dropout=1"], "task.dropout=1: Input should be less than 1"),
        (["task.pool=men"], "task.pool=men: Input should be 'merged', 'mean', 'max'"),
        (["backbone.hidden_size=-1"], "backbone.hidden_size=-1: Input should be greater than"),
        (["seed=-1"], "seed=-1: Input should be greater than or equal to 0"),
        (["train.learning_rate=nan"], "train.learning_rate=nan: Input should be a finite number"),
        (
            ["mode=sing"],
            "mode=sing: Input should be 'train', 'evaluate', 'predict', 'chat', 'explain' or 'serve'",
        ),
        (["mode=trian"], "'explain' or 'serve'; did you mean train?"),
        (["tokenizer.kind=subword"], "'subwords' or 'characters'; did you mean subwords?"),
        (["task=clasify"], "; did you mean classify?; one of your own"),
        (["data=imbd"], "ud_ewt, wikitext2; did you mean imdb?"),
        (["predict", "model=classify/langdi"], "localise-en-ja; did you mean classify/langid?"),
        (["predit"], "predit: settings are given as NAME=VALUE; see --help; did you mean predict?"),
        (["--hepl"], "see --help; did you mean --help?"),
        (
            ["--help", "task=tga"],
            "task=tga: no such task; there are: classify, forecast, generate, tag",
        ),
        (["--help", "data=imbd"], "data=imbd: no such data; there are: cldr, co2, columns"),
        (["--help", "trian"], "evaluate, serve; did you mean train?"),
        (["--completion", "fish"], "there are --completion bash and --completion zsh"),
        (["-m", "train.epochs=1,many"], "train.epochs=many: Input should be a valid integer"),
        (["-m", "predict", "model=classify/langid"], "--multirun trains: mode=predict runs"),
        (["task=nope"], "task=nope: no such task; there are: classify"),
        (
            ["data=nope"],
            "data=nope: no such data; there are: cldr, co2, columns, digits, enja, ett, files, hub, imdb",
        ),
        (["data=imdb"], "data.path is missing: add data.path=…"),
        (["data=imdb", "data.path=nowhere"], "nowhere: "),
        (["data=files", "data.train=nowhere.csv"], "nowhere.csv: No such file or directory"),
        (["data.locales=[en,xx]"], "xx"),
        (["train.epochs"], "train.epochs: settings are given as NAME=VALUE; see --help"),
        (["--experimental-rerun"], "--experimental-rerun: settings are given as NAME=VALUE"),
        (["mode=predict"], "mode=predict needs model=DIR, a folder that a training wrote"),
        (["mode=predict", "model=nowhere"], "nowhere: neither a model folder nor a shipped model"),
        (["resume=nowhere"], "resume=nowhere: no checkpoint/checkpoint.pt"),
        (["resume=nowhere", "seed=2"], "resume=nowhere: no checkpoint/checkpoint.pt"),
        (["init=x", "backbone.hidden_size=2"], "init=… brings its backbone and tokenizer"),
        (
            ["model=tag/fields"],
            "model=tag/fields: a training makes one; it starts from another with init=tag/fields",
        ),
        (["threshold=0.5", "mode=explain"], "threshold=… is for mode=predict, not mode=explain"),
        (["output=a.csv"], "output=… is for mode=predict, not mode=train"),
        (["text=hello"], "text=… is for mode=predict and mode=explain, not mode=train"),
        (["precision=fp16", "device=cpu"], "precision=fp16 needs a CUDA device"),
        (["device=tpu"], "device=tpu: Input should be 'auto', 'cpu' or 'cuda'; did you mean cpu?"),
    ],
)
def test_a_wrong_setting_is_one_line(capsys, tmp_path, monkeypatch, words, line):
    monkeypatch.chdir(tmp_path)
    assert line in fails(capsys, *words)
    assert not [*tmp_path.iterdir()]  # nothing was written


@pytest.mark.skipif("torch.cuda.is_available()", reason="there is one")
def test_no_gpu_is_one_line(capsys):
    assert "torch sees no CUDA device here" in fails(capsys, "device=cuda")


GOOD = "text,label\n" + "".join(f"text number {i},{'ab'[i % 2]}\n" for i in range(60))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("text,label\n", "rows.csv: holds no rows"),
        ("", "rows.csv: holds no rows"),
        ("text\nx\n", "rows.csv:2: no 'label', there are text: set data.label=COLUMN"),
        ("txt,label\nx,a\n", "rows.csv:2: no 'text', there are txt, label: set data.text=COLUMN"),
        (
            "本文,評価\n良い,a\n",
            "rows.csv:2: no 'text' and no 'label', there are 本文, 評価: set data.text=COLUMN data.label=COLUMN",
        ),
        (GOOD + "x,a,b\n", "rows.csv:62: 3 cells, the header has 2"),
        (GOOD + "x\n", "rows.csv:62: 1 cells, the header has 2"),
        (GOOD + '"x,a\n', "rows.csv:62: "),
        (GOOD.encode() + b"\xe9t\xe9,a\n", "rows.csv:62: not UTF-8 (byte 0xe9 at column 1)"),
        (GOOD.encode() + b"x\0,a\n", "rows.csv:62: a NUL byte"),
        (GOOD.replace(",b", ",a"), "all training rows have the label ['a']"),
        ("text,label\n" + "x" * (20 << 20) + ",a\n", "rows.csv:2: a line of more than 16 MB"),
    ],
)
def test_a_wrong_file_is_one_line(capsys, tmp_path, content, line):
    path = tmp_path / "rows.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    out = tmp_path / "out"
    assert line in fails(capsys, "data=files", f"data.train={path}", f"out={out}", *SMALL)
    assert not out.exists()


def test_a_label_unseen_in_training_is_one_line(capsys, tmp_path):
    (tmp_path / "train.csv").write_text(GOOD)
    (tmp_path / "test.csv").write_text("text,label\nx,a\ny,z\n")
    files = [f"data.train={tmp_path}/train.csv", f"data.test={tmp_path}/test.csv"]
    words = ["data=files", *files, f"out={tmp_path}/out", *SMALL]
    error = fails(capsys, *words, "strict=true")
    line = "test.csv:3: label 'z' does not occur in the training rows; strict=false counts it"
    assert f"{line} as a mistake" in error
    assert not (tmp_path / "out").exists()
    assert run.main(words) == 0
    said = "test.csv: 1 labels that the training rows lack count as mistakes: 'z' (1)\n"
    assert said in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["test"]["accuracy"] <= 0.5
    assert report["confusion"]["labels"] == ["a", "b", "z"]
    assert sum(report["confusion"]["counts"][2]) == 1


def test_the_text_na_and_odd_rows_are_trained_on(tmp_path):
    content = "\ufeff" + GOOD.replace("text number 3,", "NA,").replace("text number 5,", ",")
    (tmp_path / "rows.csv").write_bytes(content.replace("\n", "\r\n").encode())
    words = ["data=files", f"data.train={tmp_path}/rows.csv", f"out={tmp_path}/out", *SMALL]
    assert run.main([*words, "task.max_length=2"]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert sum(report["rows"].values()) == 59  # the empty text is skipped
    assert sum(report["cut"].values()) == 58


def test_a_run_is_never_written_over(capsys, tmp_path, trained):
    assert "holds a run already: choose another out=DIR" in fails(
        capsys, "data=files", f"data.train={TOY}", f"out={trained}", *SMALL
    )
    (tmp_path / "notes.txt").write_text("mine")
    error = fails(capsys, "data=files", f"data.train={TOY}", f"out={tmp_path}", *SMALL)
    assert error.endswith("holds notes.txt, which is of no run: choose a new or empty folder")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_one_line(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    error = fails(capsys, "data=files", f"data.train={TOY}", f"out={tmp_path}/file/run", *SMALL)
    assert error.endswith("/file: Not a directory")
    if os.getuid():
        (tmp_path / "locked").mkdir(mode=0o500)
        error = fails(capsys, "data=files", f"data.train={TOY}", f"out={tmp_path}/locked/run")
        assert "Permission denied" in error


@pytest.mark.parametrize("limit", [100, 4000, 20_000, 100_000])
def test_a_disk_that_is_full_is_one_line_and_leaves_nothing_half_written(tmp_path, limit):
    """The largest file that may be written is bounded: sooner or later one does not fit."""
    done = command(*arguments(tmp_path / "out"), largest=limit)
    assert done.returncode == 2, done.stdout
    assert done.stderr.startswith("error: ")
    assert "File too large" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not [*tmp_path.glob("**/*.part")]
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_help_answers_within_a_second_and_without_torch():
    words = [sys.executable, "-X", "importtime", "-m", "zoo.run", "--help"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "task=translate  An encoder-decoder: " in done.stdout
    assert "resume" in done.stdout
    assert "torch" not in done.stderr
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "zoo.run", "--help"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            timeout=60,
        )
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1


def test_a_first_word_is_a_mode(capsys, trained):
    words = [f"model={trained}", "text=a fine film", "device=cpu"]
    assert run.main(["mode=predict", *words]) == 0
    said = capsys.readouterr().out
    assert run.main(["predict", *words]) == 0
    assert capsys.readouterr().out == said != ""
    assert typing.get_args(Settings.model_fields["mode"].annotation) == run.MODES


def test_a_program_of_the_package_is_a_first_word_too(capsys):
    assert run.main(["hub", "list"]) == 0
    assert capsys.readouterr().out == f"{zoo.list_models()}\n"
    for name in PROGRAMS:
        with pytest.raises(SystemExit) as end:
            run.main([name, "--help"])
        assert end.value.code == 0
        assert f"usage: python -m zoo.{name} " in capsys.readouterr().out


def test_version_is_that_of_the_package(capsys):
    assert [run.main([flag]) for flag in ("--version", "-V")] == [0, 0]
    assert capsys.readouterr().out == f"sequence-zoo {zoo.__version__}\n" * 2
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == zoo.__version__
    assert project["scripts"] == {"zoo": "zoo.run:main"}


@pytest.mark.parametrize(
    ("given", "waits"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_threads_wait_shortly_unless_it_is_said_how(monkeypatch, given, waits):
    monkeypatch.setattr(os, "environ", dict(given))
    assert run.main(["--version"]) == 0
    assert os.environ.get("GOMP_SPINCOUNT") == waits


def test_the_first_line_says_what_begins_and_needs_no_torch(tmp_path):
    """Something that breaks the import of torch breaks the training, not its first line."""
    (tmp_path / "torch.py").write_text("raise SystemExit(7)")
    done = subprocess.run(
        [sys.executable, "-m", "zoo.run", "data=files", f"data.train={TOY}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        timeout=60,
    )
    assert done.returncode == 7
    assert done.stdout.startswith(f"train: task=classify on data=files ({TOY}) …\n")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_without_unicode_gets_escapes(encoding, trained):
    def said(*words):
        done = command(*words, encoding=encoding)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    shown = said("--help").replace("…", "...")
    assert "Usage: python -m zoo.run [MODE] [SETTING=VALUE ...]" in shown
    assert "\\u" not in shown
    model = "model=translate/localise-en-ja"
    answer = said("predict", model, "text=in 3 days", "generation.beam_size=1", "device=cpu")
    assert (
        answer.strip()
        == zoo.load("translate/localise-en-ja")
        .predict(["in 3 days"], config=GenerationConfig(beam_size=1))[0]
        .encode("ascii", "backslashreplace")
        .decode()
    )


def test_a_file_name_that_is_not_utf8_can_be_printed():
    assert run.main(["--version"]) == 0  # sets up how characters are printed
    assert "a\udce9\ud83d\u65e5".encode("utf-8", "zoo-bytes") == b"a\xe9\\ud83d\xe6\x97\xa5"
    name = b"caf\xe9.csv".decode("utf-8", "surrogateescape")
    done = command("data=files", f"data.train={name}")
    assert done.returncode == 2
    assert f"({name})" in done.stdout  # the bytes of the name, as they are
    assert done.stderr == "error: caf\\xe9.csv: the name is not UTF-8: rename it\n"


def test_help_has_headings_with_every_setting_once(capsys):
    assert run.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 100
    for heading in ("First commands", "What is done", "How it is computed", "More settings"):
        assert f"\n\n{heading}" in said
    for name in Settings.model_fields.keys() - {*SECTIONS}:
        assert len(re.findall(rf"^  {name} ", said, re.MULTILINE)) == 1, name


def test_help_explains_a_section_and_a_corpus(capsys):
    assert run.main(["--help", "train"]) == 0
    said = capsys.readouterr().out
    assert "train.patience=3    int from 0" in said
    assert run.main(["--help", "data=files"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("data=files: Your own files: ")
    assert "\n  data.label: label          # name of the column with the label\n" in said
    assert run.main(["--help", "data=imdb"]) == 0
    assert "data.path: ???" in capsys.readouterr().out


def test_cfg_shows_what_the_rows_choose(capsys):
    words = ["task=classify", "data=files", f"data.train={DATA / 'classify.jsonl'}"]
    assert run.main(["--cfg", *words, "task.dropout=0.4"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"  ngrams: characters +# rows: a linear bag", out)
    assert re.search(r"  pool: max +# rows: \d+ rows", out)
    assert re.search(r"  dropout: 0.4 +# command line", out)
    assert re.search(r"  metric: accuracy +# null: the metric of classify; within 0", out)
    assert run.main(["--cfg", *words, "from_data=false"]) == 0
    assert "# rows" not in capsys.readouterr().out


def test_cfg_prints_the_settings_that_would_be_used(capsys):
    assert run.main(["--cfg", "train.epochs=3", "data.train=my rows (1).csv", "data=files"]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 100
    values = yaml.safe_load(printed)
    assert values["train"]["epochs"] == 3
    assert values["data"]["train"] == "my rows (1).csv"
    assert values["task"] == {"name": "classify", **dataclasses.asdict(ClassifyConfig())}
    assert values["backbone"] == dataclasses.asdict(BackboneConfig())


@pytest.mark.parametrize("task", ["classify", "generate", "tag", "translate"])
def test_cfg_says_where_each_value_comes_from(capsys, task):
    words = [f"task={task}", "backbone.dropout=0.25", "seed=3", "data.seed=7"]
    assert run.main(["--cfg", "data=cldr", *words]) == 0
    section, source = "", {}
    for line in capsys.readouterr().out.splitlines():
        name, _, behind = line.partition(":")
        section = section if line.startswith(" ") or behind.strip() else name
        key = f"{section}.{name.strip()}" if line.startswith(" ") else name
        source[key] = line.partition("# ")[2]
    assert source["seed"] == source["backbone.dropout"] == source["data.seed"] == "command line"
    assert source["mode"] == "default of Settings"
    assert source["backbone.layer_norm"] == "default of BackboneConfig"
    assert source["evaluate.window"] == "default of EvaluationConfig"
    assert source["data.items"] == "configs/data/cldr.yaml"
    wanted = {"classify": "recipe classify/cldr", "generate": "recipe generate/default"}
    assert source["tokenizer.kind"] == wanted.get(task, f"recipe {task}/default")
    assert ("generation.top_k" in source) == (task in ("generate", "translate"))


def test_a_training_prints_scores_baseline_and_the_next_command(capsys, tmp_path):
    out = tmp_path / "out"
    words = ["data=files", f"data.train={TOY}", f"out={out}", *SMALL, "baseline=true"]
    assert run.main(words) == 0
    printed = capsys.readouterr().out
    assert "epoch 2/2  loss " in printed
    assert "TF-IDF + logistic regression" in printed
    assert f'next: python -m zoo.run mode=predict model={out} text="…"' in printed
    report = json.loads((out / "report.json").read_text())
    assert report["baseline"]["accuracy"] >= 0.9
    assert report["baseline"]["rows"] == report["rows"]["train"]


def test_evaluate_gives_the_figures_of_the_training(capsys, tmp_path, trained):
    words = ["mode=evaluate", f"model={trained}", *SMALL]  # on the data of its training
    assert run.main([*words, f"out={tmp_path}"]) == 0
    expected = json.loads((trained / "report.json").read_text())
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["test"] == expected["test"]
    assert found["intervals"] == expected["intervals"]
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    accuracy = expected["intervals"]["accuracy"]
    interval = f"{accuracy['low']:.4g}–{accuracy['high']:.4g}"
    assert f"accuracy {expected['test']['accuracy']:.4f} {interval} " in printed
    assert f"classify on files, {expected['rows']['test']} test rows" in printed
    assert f"rows: {TOY} (a tenth of it)" in printed
    assert "(no baseline beside it)" in printed


def test_evaluate_takes_other_rows_by_one_setting_and_learns_their_baseline(
    capsys, tmp_path, trained
):
    rows = lines(DATA / "classify.jsonl")[:10]
    path = write(tmp_path / "new.jsonl", rows)
    words = ["mode=evaluate", f"model={trained}", f"data.test={path}", *SMALL, "baseline=true"]
    assert run.main(words) == 0
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "classify on files, 10 test rows" in printed
    assert "TF-IDF + logistic regression" in printed
    assert f"rows: {path}" in printed


def test_evaluate_from_another_folder_says_how_the_data_is_found(
    capsys, tmp_path, monkeypatch, trained
):
    model = shutil.copytree(trained, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    config["metadata"]["data_settings"]["train"] = "rows.jsonl"
    (model / "config.json").write_text(json.dumps(config))
    sign(model)
    monkeypatch.chdir(tmp_path)
    assert fails(capsys, "mode=evaluate", "model=model") == (
        "model=model: its data.train=rows.jsonl is not there: go to the folder in which it was "
        "trained, or add data.test=…"
    )
    words = ["mode=evaluate", "model=model", f"data.test={TOY}", *SMALL, f"out={tmp_path / 'ev'}"]
    assert run.main(words) == 0


def test_evaluate_names_the_corpus_that_it_needs(capsys):
    error = fails(capsys, "mode=evaluate", "model=generate/wikitext2")
    assert error == "data.path is missing: add data.path=…"


@pytest.mark.parametrize("source", ["model", "config"])
def test_explain_prints_shapes_and_reason(capsys, trained, source):
    words = [f"model={trained}"] if source == "model" else SMALL
    words = [*words, "data=files", f"data.train={TOY}", "mode=explain"]
    assert run.main(words) == 0
    printed = capsys.readouterr().out
    for name in ("ids", "output", "h_n", "c_n", "read from h_n", "logits"):
        assert name in printed
    assert "classify reads h_n: the final h of each direction has read the whole text" in printed
    assert "(2, 8, 16)" in printed  # h_n: directions, batch, hidden


TEXTS = "Gulls follow the trawler home.\n\nSnow closed the pass for three days.\n"


def answered(monkeypatch, capsysbinary, trained, text, *words):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    status = run.main(["mode=predict", f"model={trained}", *words])
    return status, capsysbinary.readouterr()


def test_predict_answers_line_by_line_and_empty_with_empty(monkeypatch, capsysbinary, trained):
    status, (out, _) = answered(monkeypatch, capsysbinary, trained, TEXTS.encode())
    assert (status, out) == (0, b"sea\n\nmountain\n")
    status, (out, _) = answered(monkeypatch, capsysbinary, trained, TEXTS.encode(), "format=json")
    first, empty, _last = map(json.loads, out.decode().splitlines())
    assert first["label"] == "sea"
    assert sum(first["probabilities"].values()) == pytest.approx(1)
    assert empty is None
    status, (out, _) = answered(monkeypatch, capsysbinary, trained, b"")
    assert (status, out) == (0, b"")


def test_predict_keeps_the_order_of_many_lines(monkeypatch, capsysbinary, trained):
    rows = lines(DATA / "classify.jsonl") * 40
    text = "".join(row["text"] + "\n" for row in rows).encode()
    status, (out, _) = answered(monkeypatch, capsysbinary, trained, text)
    assert status == 0
    assert out.decode().split() == [row["label"] for row in rows]


def test_predict_answers_what_came_before_a_broken_line(monkeypatch, capsysbinary, trained):
    text = b"Gulls follow the trawler home.\n\xff\n"
    status, (out, err) = answered(monkeypatch, capsysbinary, trained, text)
    assert status == 2
    assert out == b"sea\n"
    assert err.decode().startswith("error: input:2: not UTF-8")


def test_predict_reads_and_writes_files(capsys, tmp_path, trained):
    path = tmp_path / "answers.txt"
    words = ["mode=predict", f"model={trained}", f"output={path}"]
    assert run.main([*words, f"input={TOY}"]) == 0
    assert path.read_text().split() == [row["label"] for row in lines(DATA / "classify.jsonl")]
    (tmp_path / "broken.jsonl").write_text('{"text": "x"}\n{"txt": "x"}\n')
    error = fails(capsys, *words, f"input={tmp_path}/broken.jsonl")
    assert "broken.jsonl:2: no column 'text'; there are: txt" in error
    assert len(path.read_text().split()) == len(lines(DATA / "classify.jsonl"))  # as it was
    assert sorted(p.name for p in tmp_path.iterdir()) == ["answers.txt", "broken.jsonl"]


def test_predict_takes_any_text_as_it_is(capsys, trained):
    for text in ("so-so, at best", "it's [not] {good}: 'x' \\", "a=b", "", "null", "日本"):
        assert run.main(["mode=predict", f"model={trained}", f"text={text}"]) == 0
        assert capsys.readouterr().out.strip() in ("sea", "mountain") if text else True


def test_predict_answers_a_program_that_waits_for_each_line(trained):
    words = [sys.executable, "-m", "zoo.run", "mode=predict", f"model={trained}"]
    with subprocess.Popen(
        words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for text, answer in (("Gulls follow the trawler.", "sea"), ("Snow and rock.", "mountain")):
            process.stdin.write(text + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == answer + "\n"
        process.stdin.close()
        assert process.wait(timeout=60) == 0


def test_a_reader_that_leaves_early_is_no_error(trained):
    script = f"yes a text | {sys.executable} -m zoo.run mode=predict model={trained} | head -1"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, timeout=120)
    assert done.stdout.decode().strip() in ("sea", "mountain")
    assert done.stderr == b""


def test_a_new_head_starts_from_another_models_backbone(tmp_path, trained):
    chosen = settings(None, f"init={trained}", "data.label=text", "data.text=label")
    task = build(options_of(chosen), chosen, open_corpus(chosen.data))
    origin = zoo.load(trained)
    for name, weight in task.backbone.state_dict().items():
        assert torch.equal(weight, origin.backbone.state_dict()[name])
    assert len(task.processors["labels"]) > 2  # a head of its own
    words = [
        "data=files",
        f"data.train={TOY}",
        f"init={trained}",
        f"out={tmp_path / 'run'}",
        "baseline=false",
        "device=cpu",
        "precision=fp32",
        "train.epochs=1",
        "train.learning_rate=1e-9",
    ]
    assert run.main(words) == 0
    begun = zoo.load(tmp_path / "run").backbone.embedding.weight
    torch.testing.assert_close(begun, origin.backbone.embedding.weight, atol=1e-5, rtol=0)


def test_the_default_run_is_a_process_of_its_own(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "zoo.run", *arguments(tmp_path / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        timeout=240,
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert "\x1b" not in done.stdout  # no colours and no bar where there is no terminal

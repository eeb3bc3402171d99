"""Settings that follow from the training rows: what is chosen, for whom, and what wins."""

from __future__ import annotations

import json
import math

import pytest
from conftest import DATA, settings, write

from zoo import run
from zoo.config import TrainConfig, check, compose
from zoo.data.readers import Row
from zoo.registry import find
from zoo.training.defaults import Profile, from_data, look, rules
from zoo.training.options import options_of
from zoo.training.rows import open_rows

CLASSIFY = find("classify")


def chosen(profile, task="classify", given=(), train=None) -> dict:
    """What the rules choose, by name."""
    found = rules(profile, find(task), train or TrainConfig(), given)
    return {choice.name: choice.value for choice in found}


def profile(rows=300, **changes) -> Profile:
    own = {"characters": 60 * rows, "alphabet": 60, "length": 60.0, "unspaced": 0.0}
    own |= {"new_words": 0.001, "labels": 6, "spans": False}
    return Profile(rows=rows, **(own | changes))


def rows_of(texts, label="ab"):
    return [Row({"text": t, "label": label[i % len(label)]}, f"x:{i}") for i, t in enumerate(texts)]


def test_a_look_counts_rows_letters_words_and_labels():
    found = look(rows_of(["one two", "two three", "これは"], "abc"), CLASSIFY)
    assert (found.rows, found.labels, found.characters) == (3, 3, 19)
    assert found.length == pytest.approx(19 / 3)
    assert found.unspaced == pytest.approx(3 / 17)
    assert found.new_words == pytest.approx(3 / 5)
    words = Row({"words": ["Ann", "left"], "labels": ["B-PER", "O"]}, "x:1")
    found = look([words] * 4, find("tag"))
    assert (found.spans, found.labels, found.new_words) == (True, 2, 0)


def test_scripts_without_blanks_are_read_by_character_or_in_pieces():
    assert chosen(profile(unspaced=0.9))["tokenizer.kind"] == "characters"
    long = chosen(profile(unspaced=0.9, length=900.0, alphabet=2000))
    assert long["tokenizer.kind"] == "subwords"
    assert long["tokenizer.size"] >= 4000  # room for every character
    assert "tokenizer.kind" not in chosen(profile(unspaced=0.1))


def test_texts_with_many_new_words_are_read_in_pieces_the_fewer_the_smaller():
    small, large = (chosen(profile(rows, new_words=0.1)) for rows in (300, 10_000))
    assert small["tokenizer.kind"] == large["tokenizer.kind"] == "subwords"
    assert 200 <= small["tokenizer.size"] < large["tokenizer.size"] <= 16_000


@pytest.mark.parametrize("task", ["classify", "tag", "translate"])
@pytest.mark.parametrize("count", [50, 300, 3000, 15_000])
def test_few_rows_are_read_more_often(task, count):
    found = chosen(profile(count), task)
    steps = found["train.epochs"] * math.ceil(count / found["train.batch_rows"])
    assert 8 <= found["train.epochs"] <= 50
    assert steps >= 160
    if count == 300:
        assert steps >= 600
    assert found["train.patience"] >= 3


def test_enough_rows_keep_the_defaults_of_training():
    assert chosen(profile(50_000), "tag") == {}
    assert {*chosen(profile(50_000))} == {"task.ngrams", "task.ngram_share"}
    assert chosen(profile(200_000)) == {}


def test_given_values_count_in_the_rules():
    train = TrainConfig(batch_rows=8, epochs=3)
    found = chosen(profile(), given=("train.batch_rows",), train=train)
    assert (found["train.batch_rows"], found["train.epochs"]) == (8, 18)
    found = chosen(profile(), given=("train.epochs",), train=train)
    assert (found["train.epochs"], found["train.patience"]) == (3, 3)


def after(*words, data="files"):
    """The settings of a command line on the toy rows, after the rules."""
    path = DATA / "classify.jsonl"
    given = ["task=classify", f"data={data}"]
    given += [f"data.train={path}"] if data == "files" else []
    before = check(compose([*given, *words]))
    options = options_of(before)
    splits = open_rows(before, options.kind)
    return before, from_data(before, options, splits)


def test_what_is_given_wins_and_the_rest_is_chosen(caplog):
    caplog.set_level("INFO", "zoo")
    before, (settings, options) = after("train.epochs=7", "task.pool=mean", "tokenizer.size=300")
    assert before.train.epochs == settings.train.epochs == 7
    assert options.task.pool == "mean"
    assert settings.tokenizer.size == 300
    assert settings.train.batch_rows == 16
    assert any(m.startswith("train.batch_rows=16: 7") for m in caplog.messages)
    assert not any(m.startswith(("train.epochs", "task.pool")) for m in caplog.messages)


def test_named_corpora_and_from_data_false_keep_their_settings(caplog):
    caplog.set_level("INFO", "zoo")
    for words, data in (([], "cldr"), (["from_data=false"], "files")):
        before, (settings, _) = after(*words, data=data)
        assert settings is before
    plain = settings_without_source()
    assert from_data(plain, options_of(plain), None)[0] is plain


def settings_without_source():
    """Settings of which it is not known what was given, as those of a resumed run."""
    return check(settings(None, "from_data=true").model_dump())


def test_the_default_recipe_of_a_task_gives_way_and_the_command_line_does_not(tmp_path):
    rows = [{"words": [f"w{i}", "x"], "labels": ["A", "B"]} for i in range(60)]
    path = write(tmp_path / "tag.jsonl", rows)
    words = ["task=tag", "data=files", f"data.train={path}"]
    for more, hidden in (([], 128), (["backbone.hidden_size=40"], 40)):
        before = check(compose([*words, *more]))
        options = options_of(before)
        found = from_data(before, options, open_rows(before, options.kind))[1]
        assert found.backbone.hidden_size == hidden
        assert found.backbone.embedding_size == 128  # of the recipe


@pytest.mark.parametrize(
    "given",
    [
        ["task.words=subword", "tokenizer.kind=characters"],
        ["task.label_smoothing=0.1"],
        ["task.r_drop=1"],
        [],
    ],
)
def test_what_is_chosen_fits_what_is_given(tmp_path, given):
    rows = [{"words": [f"w{i}", "x"], "labels": ["B-A", "O"]} for i in range(60)]
    path = write(tmp_path / "tag.jsonl", rows)
    words = ["task=tag", "data=files", f"data.train={path}", "train.epochs=1", "threads=1"]
    assert run.main([*words, *given, "baseline=false", f"out={tmp_path / 'run'}"]) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["settings"]["task"].get("crf", False) == (
        "task" not in str(given) or "words" in str(given)
    )


def test_a_tokenizer_that_is_given_keeps_its_size(tmp_path):
    rows = [{"text": f"a{i} b{i} c{i}", "label": "ab"[i % 2]} for i in range(60)]
    path = write(tmp_path / "rows.jsonl", rows)
    words = ["task=classify", "data=files", f"data.train={path}"]
    for more, kind in (([], "subwords"), (["tokenizer.kind=words"], "words")):
        before = check(compose([*words, *more]))
        options = options_of(before)
        found = from_data(before, options, open_rows(before, options.kind))[0]
        assert found.tokenizer.kind == kind
        assert (found.tokenizer.size == 30_000) == (kind == "words")


def test_a_run_is_trained_with_what_was_chosen(tmp_path, capsys):
    words = ["data=files", f"data.train={DATA / 'classify.jsonl'}", "train.epochs=1", "threads=1"]
    words += ["backbone.hidden_size=8", "baseline=false", f"out={tmp_path / 'run'}"]
    assert run.main(words) == 0
    assert "train.batch_rows=16: " in capsys.readouterr().out
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["settings"]["train"]["batch_rows"] == 16
    assert report["settings"]["task"]["pool"] == "max"


def test_a_linear_bag_of_n_grams_decides_the_more_the_fewer_rows_a_label_has():
    shares = [chosen(profile(rows))["task.ngram_share"] for rows in (60, 600, 6000)]
    assert shares == [0.9, 0.75, 0.6]
    assert chosen(profile(2000, labels=100))["task.ngram_share"] == 0.9
    assert chosen(profile())["task.ngrams"] == "characters"
    assert chosen(profile(length=900.0))["task.ngrams"] == "words"
    assert chosen(profile(length=900.0, unspaced=0.9))["task.ngrams"] == "characters"
    for other in (profile(labels=1000), profile(several=True), profile(labels=0)):
        assert "task.ngrams" not in chosen(other)


def test_a_short_text_is_read_more_often_and_in_fewer_pieces():
    train = TrainConfig(batch_tokens=1120)
    short, longer = (chosen(profile(rows), "generate", (), train) for rows in (300, 3_000))
    assert 200 <= short["tokenizer.size"] < longer["tokenizer.size"] < 16_000
    assert short["train.epochs"] == 60
    assert 8 <= longer["train.epochs"] < 60
    assert short["train.patience"] == 20
    assert "tokenizer.kind" not in short  # the task's recipe names it
    dense = chosen(
        profile(3_000, unspaced=0.9), "generate", (), train
    )  # more tokens in as many characters
    assert dense["train.epochs"] < longer["train.epochs"]
    assert chosen(profile(100_000), "generate") == {}
    given = chosen(profile(), "generate", ("train.epochs",), TrainConfig(epochs=9))
    assert given["train.patience"] == 3


@pytest.mark.parametrize(
    ("given", "tolerant"),
    [
        ([], True),
        (["train.metric=macro_f1"], False),
        (["task.class_weights=balanced"], False),
    ],
)
def test_a_metric_that_is_named_chooses_alone(tmp_path, given, tolerant):
    path = tmp_path / "rows.jsonl"
    rows = [json.dumps({"text": f"w{n % 9} x {n}", "label": "ab"[n % 2]}) for n in range(60)]
    path.write_text("\n".join(rows))
    wanted = check(compose(["task=classify", "data=files", f"data.train={path}", *given]))
    options = options_of(wanted)
    chosen_settings, _ = from_data(wanted, options, open_rows(wanted, options.kind))
    assert (chosen_settings.train.tolerance > 0) == tolerant


def months(folder, count, name="sales.csv"):
    lines = [f"{2000 + n // 12}-{n % 12 + 1:02},{100 + n + 20 * (n % 12)}" for n in range(count)]
    path = folder / name
    path.write_text("month,sales\n" + "\n".join(lines) + "\n", "utf-8")
    return path


def sizes_of(path, *given) -> dict:
    """What is chosen for a table of a series, by the options of the forecast."""
    made = check(compose(["task=forecast", "data=series", f"data.path={path}", *given]))
    options = options_of(made)
    made, options = from_data(made, options, open_rows(made, options.kind))
    names = "input", "horizon", "segment"
    return {name: getattr(options.task, name) for name in names}


def test_a_short_series_is_read_in_whole_seasons_and_forecast_as_far_as_each_split_goes(tmp_path):
    found = sizes_of(months(tmp_path, 120))  # 84 months of training, 12, 24
    assert found == {"input": 36, "horizon": 12, "segment": 12}
    found = sizes_of(months(tmp_path, 30))  # 21, 3, 6
    assert found == {"input": 9, "horizon": 3, "segment": 3}
    found = sizes_of(months(tmp_path, 12))
    assert found == {"input": 3, "horizon": 2, "segment": 2}


def test_a_series_that_is_long_enough_and_sizes_that_are_given_are_left_alone(tmp_path):
    whole = {"input": 96, "horizon": 24, "segment": 12}
    assert sizes_of(months(tmp_path, 240)) == whole
    assert sizes_of(months(tmp_path, 120), "from_data=false") == whole
    found = sizes_of(months(tmp_path, 120), "task.horizon=6", "task.segment=2")
    assert found == {"input": 36, "horizon": 6, "segment": 2}


def test_thirty_values_are_trained_on_without_a_setting(tmp_path, capsys):
    words = ["task=forecast", "data=series", f"data.path={months(tmp_path, 30)}", "train.epochs=1"]
    assert run.main([*words, "threads=1", f"out={tmp_path / 'made'}"]) == 0
    assert "task.input=9: 21 training steps, 3 of validation or test" in capsys.readouterr().out
    assert (tmp_path / "made/manifest.json").is_file()

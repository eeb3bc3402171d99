"""Messages in the user's language: whole catalogues, the choice of a language, and what stays English."""

from __future__ import annotations

import copy
import io
import logging
import pickle
import re
import shutil
import string
import sys

import pytest
from babel.messages.mofile import read_mo
from conftest import arguments
from rich.cells import cell_len

from zoo import run
from zoo.data.corpora import open_corpus
from zoo.errors import InputError, RowError
from zoo.export import program
from zoo.hub import __main__ as hub
from zoo.messages import (
    DOMAIN,
    FOLDER,
    LOCALES,
    NAMES,
    Formatter,
    _,
    language,
    listed,
    message_of,
    translated,
)
from zoo.messages.__main__ import messages, mo, po, read, updated
from zoo.model_folder.verify import SHIPPED

CJK = "[\u2e80-\u303f\u3040-\u30ff\u3400-\u9fff\uff00-\uffef]"
LETTER = "[\u3040-\u30ff\u3400-\u9fff]"  # kana and Han, without punctuation
LATIN = "[A-Za-z0-9{}]"
BLANK = re.compile(f"{CJK}[ \u3000]+{CJK}|{LETTER} {LATIN}|{LATIN} {LETTER}")


@pytest.fixture
def speak(monkeypatch):
    """Choose the user's language by environment variables; all others are removed."""

    def choose(**variables):
        for name in ("LANGUAGE", *LOCALES):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return choose


def place(name):
    return FOLDER / name / "LC_MESSAGES"


def catalogue(name):
    """The pairs of English and translation in a language's zoo.po."""
    entries = read(place(name) / f"{DOMAIN}.po", name)
    return {entry.id: entry.string for entry in entries if entry.id}


def fields(template):
    return sorted(
        (name, spec, conversion)
        for _text, name, spec, conversion in string.Formatter().parse(template)
        if name is not None
    )


each_language = pytest.mark.parametrize("name", NAMES)


@each_language
def test_a_catalogue_has_every_message_of_the_sources(name):
    """If it has not: `python -m zoo.messages` adds the new ones; then translate them in zoo.po."""
    found = catalogue(name)
    assert {*found} == {text for text, _source in messages()}
    assert not [text for text, said in found.items() if not said]


@each_language
def test_the_files_are_those_that_the_command_writes(name):
    path = place(name) / f"{DOMAIN}.po"
    made = updated(path, name)
    assert path.read_bytes() == po(made)
    compiled = read_mo(io.BytesIO((place(name) / f"{DOMAIN}.mo").read_bytes()))
    wanted = read_mo(io.BytesIO(mo(made)))
    assert {m.id: m.string for m in compiled} == {m.id: m.string for m in wanted}


@each_language
def test_translations_have_the_same_values_as_the_english(name):
    """Each value once at least, written alike; a line that goes on ends with its ellipsis."""
    for text, said in catalogue(name).items():
        assert {*fields(text)} == {*fields(said)}, text
        assert not text.endswith(" …") or said.endswith("…"), text
        assert text[:2].isspace() == said[:2].isspace(), text


@each_language
def test_no_blank_stands_inside_a_sentence(name):
    found = [said for said in catalogue(name).values() if BLANK.search(said)]
    assert not found
    assert BLANK.search("モデル を保存")
    assert BLANK.search("モデル {name}")
    assert BLANK.search("{name} モデル")
    assert BLANK.search("儲存。 模型")
    assert not BLANK.search("{name}: 模型を5行、accuracy 0.5  最良")


@each_language
def test_what_stands_for_a_name_is_in_the_language_too(name):
    assert not [said for said in catalogue(name).values() if "COLUMN" in said]


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, None),
        ({"LANG": "ja_JP.UTF-8"}, "ja"),
        ({"LANG": "ja"}, "ja"),
        ({"LANG": "zh_TW.UTF-8"}, "zh_TW"),
        ({"LANG": "zh-Hant"}, "zh_TW"),
        ({"LANG": "zh_HK.utf8@stroke"}, "zh_TW"),
        ({"LANG": "zh_CN.UTF-8"}, None),
        ({"LANG": "de_DE.UTF-8"}, None),
        ({"LANGUAGE": "de:zh_TW:ja"}, "zh_TW"),
        ({"LANGUAGE": "en:ja", "LANG": "ja_JP.UTF-8"}, None),
        ({"LANGUAGE": "", "LC_ALL": "", "LC_MESSAGES": "ja_JP.UTF-8"}, "ja"),
        ({"LC_ALL": "zh_TW.UTF-8", "LC_MESSAGES": "ja_JP.UTF-8", "LANG": "de"}, "zh_TW"),
        ({"LANGUAGE": "ja", "LC_ALL": "C"}, None),
        ({"LANGUAGE": "ja", "LANG": "POSIX"}, None),
        ({"LANGUAGE": "ja", "LANG": "C.UTF-8"}, "ja"),
        ({"LANG": "C.UTF-8"}, None),
    ],
)
def test_the_environment_chooses_the_language(speak, variables, wanted):
    speak(**variables)
    assert language() == wanted


def test_a_terminal_without_the_characters_gets_english(speak, monkeypatch):
    speak(LANGUAGE="ja")
    for stream in ("stdout", "stderr"):
        with monkeypatch.context() as own:
            own.setattr(sys, stream, io.TextIOWrapper(io.BytesIO(), "latin-1"))
            assert translated(_("metric")) == "metric"
    assert translated(_("metric")) == "指標"


def test_a_message_is_its_english_text_until_it_is_shown(speak):
    speak(LANGUAGE="ja")
    reason = _("{rows:,} rows", rows=1200)
    message = _("{rows}: a few words decide", rows=reason)
    for same in (message, copy.deepcopy(message), pickle.loads(pickle.dumps(message))):
        assert same == "1,200 rows: a few words decide"
        assert f"{same}" == str(same) == same
        assert translated(same) == "1,200行: 少数の単語が決め手になります"
    assert translated(f"{message}") == message, "a text that was made of it is no message"
    assert translated(listed([reason, "{x}"])) == "1,200行, {x}"
    assert listed([]) == ""
    longer = message + "; " + reason
    assert translated("a: " + reason) == "a: 1,200行"
    assert (longer, translated(longer)[-8:]) == (f"{message}; 1,200 rows", "; 1,200行")


def test_errors_stay_english_and_are_translated_when_they_are_printed(speak, capsys):
    speak(LANGUAGE="ja")
    error = RowError(
        "a{b}.csv:3", _("no column {name!r}; there are: {columns}", name="x", columns="y")
    )
    assert str(error) == "a{b}.csv:3: no column 'x'; there are: y"
    assert run.main(["mode=predict"]) == 2
    said = capsys.readouterr().err
    assert said == "エラー: mode=predictにはmodel=DIR（学習で作られたフォルダ）が必要です\n"
    speak(LANGUAGE="zh_TW")
    assert run.main(["task=clasify"]) == 2
    assert capsys.readouterr().err.startswith(
        "錯誤: task=clasify: 沒有這個task。可選擇: classify, "
    )
    speak(LANGUAGE="ja", LC_ALL="C")
    assert run.main(["mode=predict"]) == 2
    assert capsys.readouterr().err.startswith("error: mode=predict needs model=DIR")


def test_the_other_programs_speak_the_language_too(speak, capsys, tmp_path):
    speak(LANGUAGE="ja")
    assert hub.main(["pull", "foo"]) == 2
    assert capsys.readouterr().err.startswith("エラー: foo: ハブのOWNER/NAMEではありません。")
    damaged = shutil.copytree(SHIPPED / "translate/localise-en-ja", tmp_path / "damaged")
    (damaged / "tokenizer.model").write_bytes(b"")
    assert hub.main(["pull", str(damaged), str(tmp_path / "new")]) == 2
    assert capsys.readouterr().err == (
        f"エラー: {damaged}/tokenizer.model: 内容が保存したときと違います（sha256が一致しません）\n"
    )
    assert program.main(["nope", str(tmp_path / "missing" / "x.onnx")]) == 2
    assert capsys.readouterr().err.startswith("エラー: ")


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("日時の列がありません", "a,b\n1,2\n3,4\n"),
        ("予測する数値の列がありません（列'v'の例: 'x'）", "date,v\n2025-01-01,x\n"),
        ("日と月を区別できません", "date,v\n1/2/2025,1\n2/2/2025,2\n"),
        (":3: 列'date'の'soon'は日時ではありません。2016-", "date,v\n2025-01-01,1\nsoon,2\n"),
        (
            ":4: 2025-01-03 00:00:00の次に2025-01-01",
            "date,v\n2025-01-02,1\n2025-01-03,1\n2025-01-01,1\n",
        ),
        (":3: 2025-01-02 00:00:00が2回", "date,v\n2025-01-02,1\n2025-01-02,1\n2025-01-03,1\n"),
        (":3: 列'v'に値がありません。", "date,v\n2025-01-01,1\n2025-01-02,\n2025-01-03,1\n"),
        ("の後の2時刻分（", "date,v\n2025-01-01,1\n2025-01-02,1\n2025-01-05,1\n2025-01-06,1\n"),
    ],
)
def test_errors_of_a_time_series_are_translated(speak, tmp_path, said, text):
    path = tmp_path / "load.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError) as caught:
        list(open_corpus({"name": "series", "path": str(path), "split": [0.5, 0.25, 0.25]}).train)
    assert str(caught.value).isascii(), "a report keeps the English"
    speak(LANGUAGE="ja")
    assert said in translated(message_of(caught.value))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("train.learning_rate=-1", "0より大きい値を指定してください"),
        ("train.learning_rate=nan", "有限の数を指定してください"),
        ("train.epochs=1.5", "小数ではなく整数を指定してください"),
        ("threshold=2", "1以下の値を指定してください"),
    ],
)
def test_wrong_numbers_are_told_in_the_language(speak, capsys, setting, said):
    speak(LANGUAGE="ja")
    assert run.main([setting]) == 2
    assert capsys.readouterr().err == f"エラー: {setting}: {said}\n"


def test_log_records_are_translated_with_their_arguments_and_keep_their_tracebacks(speak):
    speak(LANGUAGE="zh_TW")
    record = logging.makeLogRecord(
        {"msg": "%s=%s: %s", "args": ("a", 3, _("the labels are spans"))}
    )
    assert Formatter().format(record) == "a=3: 標籤標示的是片段（span）"
    assert record.getMessage() == "a=3: the labels are spans"
    try:
        raise KeyError("x")
    except KeyError:
        caught = logging.makeLogRecord({"msg": "100 %", "exc_info": sys.exc_info()})
    assert Formatter().format(caught).splitlines()[0::3][0] == "100 %"
    assert "KeyError: 'x'" in Formatter().format(caught)


@pytest.mark.parametrize(
    ("name", "begin", "end"),
    [("ja", "学習: task=classify", "次に: "), ("zh_TW", "訓練: task=classify", "下一步: ")],
)
def test_a_run_speaks_the_language_and_writes_english(
    speak, tmp_path, capsys, monkeypatch, name, begin, end
):
    speak(LANGUAGE=name)
    monkeypatch.setenv("COLUMNS", "120")
    assert run.main([*arguments(tmp_path / "run", "train.epochs=1"), "from_data=true"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0].startswith(begin)
    assert lines[0].endswith("…")
    assert [line for line in lines if line.startswith(end.strip())]
    assert not re.search(r"\d (subwords|characters|words)", out)
    widths = {cell_len(line) for line in lines if line[:1] in "┏┃┡│└"}
    tables = sum(line.startswith("┏") for line in lines)
    assert len(widths) <= tables
    for file in ("report.json", "metrics.jsonl", "config.json", "README.md"):
        text = (tmp_path / "run" / file).read_text("utf-8")
        assert not re.search("[学習訓練損失]", text), file

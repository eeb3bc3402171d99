"""Message catalogs as texts of many languages: what is read, what is left out, and where it goes."""

from __future__ import annotations

import io
import json
import random
import tarfile
import zipfile
from collections import Counter

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo

from zoo.data.corpora import open_corpus
from zoo.data.corpora.languages.catalogs import Message, clean, language_and_script, messages_of
from zoo.data.corpora.languages.labelled import part_of
from zoo.errors import InputError


def compiled(texts: dict) -> bytes:
    """Return a compiled catalog of message -> translation."""
    catalog = Catalog()
    for message, text in texts.items():
        catalog.add(message, text)
    file = io.BytesIO()
    write_mo(file, catalog)
    return file.getvalue()


def put(path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def archive(path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as target:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))


def annotations(symbols: dict) -> bytes:
    return json.dumps({"annotations": {"annotations": symbols}}).encode()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("sv", ("sv", "Latn")),
        ("sv_FI", ("sv", "Latn")),
        ("zh-tw", ("zh", "Hant")),
        ("zh_HK", ("zh", "Hant")),
        ("zh_Hans_CN", ("zh", "Hans")),
        ("zh", ("zh", "Hans")),
        ("sr", ("sr", "Cyrl")),
        ("sr@latin", ("sr", "Latn")),
        ("sr_ME", ("sr", "Latn")),
        ("sh", ("sr", "Latn")),
        ("no", ("nb", "Latn")),
        ("iw", ("he", "Hebr")),
        ("io", ("io", "Latn")),
        ("ca@valencia", ("ca", "Latn")),
        ("xyz", ("xyz", "")),
        ("farsi/persian", None),
        ("", None),
    ],
)
def test_locales_have_a_language_and_a_script(name, found):
    assert language_and_script(name) == found


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("Delete <b>%(name)s</b>?", "Delete ?"),
        ("&Save  %d of {total}", "Save of"),
        ("Keep 5% off", "Keep 5% off"),
        ("Kaffee &amp; Kuchen", "Kaffee Kuchen"),
        ("$count Zeilen\n", "Zeilen"),
    ],
)
def test_markup_and_placeholders_are_no_text(message, text):
    assert clean(message) == text


def test_catalogs_are_found_in_folders_wheels_and_archives(tmp_path):
    put(tmp_path / "a/locale/sv/LC_MESSAGES/x.mo", compiled({"House": "Huset", "Tree": "Tree"}))
    with zipfile.ZipFile(tmp_path / "b-1.whl", "w") as wheel:
        plural = compiled({("%d day", "%d days"): ("%d Tag", "%d Tage")})
        wheel.writestr("b/locale/de/LC_MESSAGES/b.mo", plural)
        wheel.writestr("b/locale/de/LC_MESSAGES/b.po", "not read")
    symbols = {"🐶": {"default": ["犬", "いぬ"], "tts": ["犬の顔"]}, "+": {}}
    files = {"package/annotations/ja/annotations.json": annotations(symbols)}
    files["package/annotations/bew/annotations.json"] = b'{"annotations": {}}'
    archive(tmp_path / "c.tgz", files)
    where = "c.tgz/package/annotations/ja/annotations.json"
    assert [*messages_of(tmp_path)] == [
        Message("sv", "Huset", "gettext", "a/locale/sv/LC_MESSAGES/x.mo"),
        Message("de", "Tag", "gettext", "b-1.whl/b/locale/de/LC_MESSAGES/b.mo"),
        Message("de", "Tage", "gettext", "b-1.whl/b/locale/de/LC_MESSAGES/b.mo"),
        Message("ja", "犬の顔", "annotations", where),
        Message("ja", "犬, いぬ", "annotations", where),
    ]


def test_a_catalog_that_cannot_be_read_is_left_out_and_named(tmp_path, caplog):
    put(tmp_path / "sv/LC_MESSAGES/good.mo", compiled({"House": "Huset"}))
    put(tmp_path / "de/LC_MESSAGES/cut.mo", compiled({"House": "Haus"})[:20])
    put(tmp_path / "annotations/ja/annotations.json", b"[1, 2]")
    assert [message.text for message in messages_of(tmp_path)] == ["Huset"]
    left_out = [r.getMessage() for r in caplog.records if "is left out" in r.getMessage()]
    assert [text.split(" ")[0] for text in left_out] == [
        "annotations/ja/annotations.json",
        "de/LC_MESSAGES/cut.mo",
    ]


def test_a_folder_without_catalogs_is_an_error(tmp_path):
    put(tmp_path / "locale/sv/x.po", b'msgid "House"\nmsgstr "Huset"\n')
    with pytest.raises(InputError, match=r"no message catalogs: put .*LC_MESSAGES"):
        [*messages_of(tmp_path)]
    with pytest.raises(InputError, match="missing: no such folder"):
        [*messages_of(tmp_path / "missing")]


def test_an_archive_that_is_cut_off_is_an_error(tmp_path):
    noise = random.Random(1).randbytes(200_000)
    archive(tmp_path / "whole.tgz", {"a/sv/LC_MESSAGES/x.mo": noise, "b.txt": noise})
    whole = (tmp_path / "whole.tgz").read_bytes()
    (tmp_path / "whole.tgz").unlink()
    for share in (0.2, 0.7):
        (tmp_path / "cut.tgz").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InputError, match=r"no archive that can be read|no message catalogs"):
            [*messages_of(tmp_path)]


def test_a_broken_archive_is_an_error(tmp_path):
    put(tmp_path / "b-1.whl", b"PK no zip")
    with pytest.raises(InputError, match=r"b-1\.whl: no archive that can be read"):
        [*messages_of(tmp_path)]


WORDS = {
    "de": ["Haus", "Baum", "Wasser", "Himmel", "Garten", "Fenster", "Wolke", "Apfel"],
    "sv": ["huset", "trädet", "vattnet", "himlen", "gatan", "bron", "molnet", "äpplet"],
}
SETTINGS = {"name": "sentences", "path": "folder", "train": ["udhr"], "test": ["udhr", "django"]}


def test_messages_are_trained_on_and_change_no_other_row(write, tmp_path):
    draw = random.Random(2)
    rows = [
        {"text": " ".join(draw.choices(WORDS[label], k=6)), "label": label, "source": f"{kind}:x"}
        for kind in ("udhr", "django")
        for label in WORDS
        for _ in range(60)
    ]
    write("folder/sentences.jsonl", "\n".join(json.dumps(row) for row in rows))
    held_out = next(row["text"] for row in rows if row["source"] == "django:x")
    own = [f"{number} neue Nachrichten" for number in range(40)]
    german = {str(number): text for number, text in enumerate([*own, held_out, "Radio 500"])}
    put(tmp_path / "cat/locale/de_AT/LC_MESSAGES/x.mo", compiled(german))
    put(tmp_path / "cat/locale/sv/LC_MESSAGES/x.mo", compiled({"r": "Radio 500"}))
    put(tmp_path / "cat/locale/fi/LC_MESSAGES/x.mo", compiled({"r": "Uusi viesti"}))
    plain = open_corpus(SETTINGS)
    more = open_corpus({**SETTINGS, "catalogs": "cat", "messages": 20})
    for part in ("valid", "test"):
        assert [*getattr(more, part)] == [*getattr(plain, part)]
    before = Counter((row["text"], row["label"]) for row in plain.train)
    after = Counter((row["text"], row["label"]) for row in more.train)
    assert before <= after
    added = after - before
    assert 0 < added.total() <= 20
    assert {label for _, label in added} == {"de"}
    shown = {text.casefold() for text, _ in added}
    assert held_out.casefold() not in shown
    assert "radio 500" not in shown
    assert "uusi viesti" not in shown
    whole = [text for text in own if text in {text for text, _ in added}]
    assert whole
    assert all(part_of(text) == "train" for text in whole)

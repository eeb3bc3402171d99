"""Tokenizers: round trips, special ids, saving and loading, and errors that name the fix."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torchtext.data.utils import get_tokenizer

from zoo.errors import InputError, RowError
from zoo.text.canonical import canonical
from zoo.text.sentencepiece import SentencePieceOptions
from zoo.text.special_ids import BOS, EOS, PAD, SPECIALS, UNK
from zoo.text.tokenizers import (
    TOKENIZERS,
    Characters,
    Subwords,
    Whitespace,
    Words,
    basic_english,
    lines,
)

ODD = "a\x01b \x7f \u2028 \u0085 \N{PARTY POPPER} \ud55c\uad6d <pad> <s> </s> <eos>"
CORPUS = ["the cat sat on the mat .", "the dog sat !", "cats and dogs, and <pad> too", ODD] * 3
JAPANESE = ["日本語の文章を読む。", "東京は日本の首都です。", "日本の文章は東京で読む。"] * 4
KINDS = pytest.mark.parametrize("kind", TOKENIZERS)
LISTS = pytest.mark.parametrize("kind", ["words", "characters"])
LEARNED = {kind: cls.train(CORPUS, 200) for kind, cls in TOKENIZERS.items()}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SPELT = st.lists(st.sampled_from([*SPECIALS, "<s>", "</s>", "▁", " ", "the", "\0"]) | TEXTS)


@KINDS
def test_the_kinds_are_found_by_name(kind):
    assert TOKENIZERS[kind].kind == kind
    assert type(LEARNED[kind]) is TOKENIZERS[kind]
    assert (PAD, UNK, BOS, EOS) == (0, 1, 2, 3)


def test_words_are_lower_case_and_marks_stand_alone():
    words = LEARNED["words"]
    assert words.decode(words.encode("The CAT sat!")) == "the cat sat !"


@given(st.text(st.sampled_from("".join(CORPUS))))
def test_characters_come_back_as_they_were(text):
    characters = LEARNED["characters"]
    assert characters.decode(characters.encode(text)) == text
    assert len(characters.encode(text)) == len(text)


@given(st.lists(st.sampled_from(["the", "cat", "sat", "on", "mat", "dog", "cats", "and", "dogs"])))
def test_words_and_subwords_come_back_with_single_blanks(words):
    for kind in ("words", "subwords"):
        tokenizer, text = LEARNED[kind], "  ".join(words)
        assert tokenizer.decode(tokenizer.encode(text)) == " ".join(words)


@KINDS
def test_an_empty_text_has_no_ids_and_no_ids_an_empty_text(kind):
    assert LEARNED[kind].encode("") == []
    assert LEARNED[kind].decode([]) == ""


@given(st.builds("".join, SPELT))
def test_no_text_gives_pad_bos_or_eos(text):
    for kind, tokenizer in LEARNED.items():
        ids = tokenizer.encode(text)
        assert not {PAD, BOS, EOS} & set(ids), kind
        assert all(0 <= i < len(tokenizer) for i in ids)
        assert isinstance(tokenizer.decode(ids), str)


@KINDS
@pytest.mark.parametrize("text", ["<pad>", "<bos> <eos>", "a <s> b </s>", "<PAD>"])
def test_a_text_spelt_like_a_special_is_text(kind, text):
    ids = LEARNED[kind].encode(text)
    assert ids
    assert min(ids) >= UNK
    assert not {BOS, EOS} & set(ids)


@KINDS
def test_decoding_leaves_pad_bos_and_eos_out(kind):
    tokenizer = LEARNED[kind]
    ids = tokenizer.encode("the cat")
    assert tokenizer.decode([BOS, *ids, EOS, PAD, PAD]) == "the cat"


@KINDS
def test_what_was_not_learned_is_unk(kind):
    assert UNK in LEARNED[kind].encode("\N{SNOWMAN}")
    assert LEARNED[kind].decode([UNK]).strip()  # and is seen


@KINDS
@pytest.mark.parametrize("size", [60, 62, 100])
def test_no_more_ids_than_asked_for_are_learned(kind, size):
    texts = [f"w{i} {chr(0x4E00 + i % 30)}" for i in range(300)]
    learned = TOKENIZERS[kind].train(texts, size)
    enough = {"characters": 4 + 1 + 1 + 10 + 30}
    assert len(learned) == min(size, enough.get(kind, size))


@LISTS
def test_the_most_frequent_are_kept_and_ties_are_sorted(kind):
    learned = TOKENIZERS[kind].train(["c b a", "c d"], 7 if kind == "words" else 8)
    assert learned.tokens == [*SPECIALS, *([] if kind == "words" else [" "]), "c", "a", "b"]


@LISTS
def test_what_is_rarer_than_min_count_is_unk(kind):
    learned = TOKENIZERS[kind].train(["a b b c c c"], 50, min_count=2)
    assert [UNK in learned.encode(text) for text in "abc"] == [True, False, False]


@KINDS
def test_a_saved_vocabulary_gives_equal_ids(kind, tmp_path):
    tokenizer = LEARNED[kind]
    path = tmp_path / f"tokenizer{tokenizer.suffix}"
    tokenizer.save(path)
    loaded = TOKENIZERS[kind].load(path)
    assert [*tmp_path.iterdir()] == [path]
    assert len(loaded) == len(tokenizer)
    for text in (*CORPUS, *JAPANESE, "unseen \N{SNOWMAN}"):
        assert loaded.encode(text) == tokenizer.encode(text)
        assert loaded.decode(loaded.encode(text)) == tokenizer.decode(tokenizer.encode(text))


@given(st.lists(TEXTS, min_size=1))
def test_any_character_survives_saving(tmp_path_factory, texts):
    learned, path = Characters.train(texts, 10_000), tmp_path_factory.mktemp("v") / "v.json"
    learned.save(path)
    assert Characters.load(path).tokens == learned.tokens
    loaded = Characters.load(path)
    assert all(loaded.decode(learned.encode(t)) == canonical(t, keep_lines=True) for t in texts)


@KINDS
def test_training_twice_writes_the_same_bytes(kind, tmp_path):
    texts = CORPUS + JAPANESE
    written = []
    for run in ("one", "two"):
        TOKENIZERS[kind].train(iter(texts), 120).save(tmp_path / run)
        written.append((tmp_path / run).read_bytes())
    assert written[0] == written[1]


GOOD = [*SPECIALS, "a", "b"]
BROKEN = {
    "truncated": json.dumps(GOOD)[:-4],
    "empty": "",
    "an object": json.dumps(dict.fromkeys(GOOD)),
    "numbers": json.dumps([*GOOD, 7]),
    "a token twice": json.dumps([*GOOD, "a"]),
    "other specials": json.dumps(["<unk>", "<pad>", "<bos>", "<eos>", "a"]),
    "a special missing": json.dumps([*SPECIALS[:3], "a"]),
    "nested": "[" * 100_000,
}


@LISTS
@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_list_is_an_error_that_names_the_file(kind, broken, tmp_path):
    path = tmp_path / "vocabulary.json"
    path.write_text(json.dumps(GOOD), "utf-8")
    assert TOKENIZERS[kind].load(path).encode("a") == [4]
    path.write_text(BROKEN[broken], "utf-8")
    _refused(TOKENIZERS[kind], path)
    path.write_bytes(json.dumps(GOOD).encode("utf-16"))
    _refused(TOKENIZERS[kind], path)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x0a\x05hello", "cut"])
def test_a_broken_sentencepiece_file_is_an_error_that_names_it(content, tmp_path):
    path = tmp_path / "tokenizer.model"
    LEARNED["subwords"].save(path)
    path.write_bytes(path.read_bytes()[:200] if content == "cut" else content)
    _refused(Subwords, path)


def test_a_sentencepiece_model_with_other_ids_is_refused(tmp_path):
    from sentencepiece import SentencePieceTrainer

    SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_prefix=str(tmp_path / "sentencepiece"),
        vocab_size=80,
        hard_vocab_limit=False,
        pad_id=0,
        unk_id=2,
        bos_id=1,
        eos_id=3,
        minloglevel=2,
    )
    _refused(Subwords, tmp_path / "sentencepiece.model")


@KINDS
def test_a_missing_file_is_an_error_that_names_it(kind, tmp_path):
    _refused(TOKENIZERS[kind], tmp_path / "nothing")


def _refused(cls, path):
    with pytest.raises(InputError) as caught:
        cls.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_size_larger_than_a_tiny_corpus_needs_is_no_error():
    for cls in TOKENIZERS.values():
        assert 4 < len(cls.train(["tiny corpus"], 50_000)) < 60


@LISTS
def test_words_and_characters_of_empty_texts_are_the_specials(kind):
    assert TOKENIZERS[kind].train(["", ""], 100).tokens == SPECIALS


@KINDS
@pytest.mark.parametrize("error", [RowError("a.csv:3", "ragged"), KeyboardInterrupt()])
def test_an_error_of_the_rows_is_passed_on(kind, error):
    def texts():
        yield "one"
        raise error

    with pytest.raises(type(error)) as caught:
        TOKENIZERS[kind].train(texts(), 100)
    assert caught.value is error


def test_words_split_the_same_after_loading(tmp_path):
    LEARNED["words"].save(tmp_path / "words.json")
    assert Words.load(tmp_path / "words.json").split("It's <br />Fine.") == LEARNED["words"].split(
        "It's <br />Fine."
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", [""]),
        ("a", ["a"]),
        ("a\n", ["a", ""]),
        ("\n", ["", ""]),
        ("a\nb", ["a", "b"]),
        ("a\r\nb", ["a", "b"]),
        ("a\rb", ["a", "b"]),
        ("a\n\rb", ["a", "", "b"]),
        ("a\r\r\n", ["a", "", ""]),
        (" a \n b", [" a ", " b"]),
        ("a\u2028b\x0bc\x85d\x1ce", ["a\u2028b\x0bc\x85d\x1ce"]),
    ],
)
def test_lines_end_at_line_ends_alone(text, wanted):
    assert lines(text) == wanted


def test_whitespace_keeps_words_as_they_are():
    tokenizer = Whitespace.train(["The the the , . don't  É\tx\ny"] * 2, 40)
    text = "the The , don't É . x y"
    assert len({*tokenizer.encode(text)}) == 8
    assert tokenizer.decode(tokenizer.encode(f" {text}\n")) == text
    assert tokenizer.encode("THE don 't é the,") == [UNK] * 5


@pytest.mark.parametrize("name", SPECIALS)
def test_a_special_in_a_text_of_words_is_unknown(name):
    tokenizer = Whitespace.train([f"a {name} {name} {name} b", "a"], 40)
    assert tokenizer.tokens == [*SPECIALS, "a", "b"]
    assert tokenizer.encode(f"a {name} b") == [4, UNK, 5]
    assert tokenizer.decode([4, UNK, EOS, 5]) == "a <unk> b"


WHITE = ["\u00a0", "\u202f", "\u3000", "\u2009", "\t", "\n", "\r\n", "\u2028"]
PIECES = SentencePieceOptions(nfkc=False)
CODE = SentencePieceOptions(nfkc=False, blanks=True)
EXACT = Subwords.train(CORPUS, 200, pieces=PIECES)


@pytest.mark.parametrize("tokenizer", [*LEARNED.values(), EXACT], ids=[*LEARNED, "identity"])
@pytest.mark.parametrize("white", WHITE, ids=ascii)
def test_white_space_of_any_kind_is_read_as_a_blank(tokenizer, white):
    blank = tokenizer.encode("the cat sat")
    ids = tokenizer.encode(f"the{white}cat{white}sat")
    if tokenizer.kind == "characters" and white in ("\r\n", "\u2028"):
        assert len(ids) > len(blank) or ids != blank  # two characters, and one that was learned
    else:
        assert ids == blank


@pytest.mark.parametrize("white", [*WHITE, " ", " \t "], ids=ascii)
@pytest.mark.parametrize("tokenizer", [LEARNED["subwords"], EXACT], ids=["nfkc", "identity"])
def test_a_white_text_has_no_subwords(tokenizer, white):
    assert tokenizer.encode(white) == []


@pytest.mark.parametrize("kind", [*TOKENIZERS, "identity"])
def test_canonically_equal_texts_have_equal_ids(kind):
    composed, apart = "un caf\u00e9 d\u00e9j\u00e0", "un cafe\u0301 de\u0301ja\u0300"
    cls, pieces = (Subwords, PIECES) if kind == "identity" else (TOKENIZERS[kind], None)
    for text in (composed, apart):
        tokenizer = cls.train([text] * 9, 60, pieces=pieces)
        assert UNK not in tokenizer.encode(composed)
        assert tokenizer.encode(composed) == tokenizer.encode(apart)
        assert tokenizer.decode(tokenizer.encode(apart)) == composed


def test_blanks_of_code_keep_tabs_apart_from_widths():
    code = Subwords.train(["if x :\n\ty ()"] * 9, 60, pieces=CODE)
    assert code.encode("if\u00a0x") == code.encode("if x")
    assert code.encode("if\tx") != code.encode("if x")
    assert code.encode("if  x") != code.encode("if x")


@given(st.lists(st.sampled_from(["<br />", '"', *"'.,()!?;:<>/- \t\u2028", "İ", "Don't"]) | TEXTS))
def test_words_are_those_of_torchtext(parts):
    text = "".join(parts)
    assert basic_english(text) == get_tokenizer("basic_english")(text)

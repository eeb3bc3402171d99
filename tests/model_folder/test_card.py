"""The model card: its sections, its table of metrics, and its commands."""

from __future__ import annotations

from zoo.model_folder.card import card
from zoo.model_folder.citations import SOURCES
from zoo.text.tokenizers import Words

TOKENIZER = Words.train(["one two three"], 50)


def written(**metadata):
    return card(
        "classify", "h_n", "it has read all words", 1234, {"tokenizer": TOKENIZER}, metadata
    )


def test_a_card_without_metadata_has_only_the_model_and_its_use():
    text = written()
    assert text.startswith(
        "# classify on unnamed data\n\nReads `h_n` of the LSTM: it has read all words.\n"
    )
    assert f"- 1,234 parameters, tokenizer of {len(TOKENIZER)} words\n" in text
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## Use"]
    assert text.endswith('```python\nimport zoo\n\nzoo.load("FOLDER").predict(["…"])\n```\n')


def test_metrics_stand_in_one_table_with_gaps():
    text = written(test={"accuracy": 0.5, "loss": 1.25}, baseline={"method": "x", "accuracy": 0.25})
    assert "## Figures" in text
    assert "| metric | test | test, baseline |\n| --- | --- | --- |\n" in text
    assert "| accuracy | 0.5000 | 0.2500 |\n| loss | 1.2500 |  |\n| method |  | x |\n" in text


def test_a_named_corpus_has_its_licence_and_citation():
    text = written(data="imdb")
    assert text.startswith("# classify on imdb\n")
    assert f"Licence: {SOURCES['imdb'].licence}.\n" in text
    assert f"To cite: {SOURCES['imdb'].cite}.\n" in text


def test_commands_are_quoted_and_steps_replace_the_command():
    one = written(command="python -m zoo.run task=classify")
    assert "Trained by:\n\n```\npython -m zoo.run task=classify\n```\n" in one
    steps = [["task=classify", "data.path=a b"], ["train.epochs=2"]]
    two = written(command="old", steps=steps, retrain="python -m zoo.hub retrain x")
    assert "old" not in two
    assert "Trained by, each step from the model of the one before:" in two
    assert (
        "python -m zoo.run task=classify 'data.path=a b'\npython -m zoo.run train.epochs=2" in two
    )


def test_the_card_of_a_trained_model_says_what_is_read_and_how_to_use_it(trained):
    card = (trained / "README.md").read_text()
    assert "Reads `h_n` of the LSTM" in card
    assert "| accuracy | " in card
    assert "zoo.load" in card

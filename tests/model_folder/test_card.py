"""The model card: its sections, its table of metrics, and its commands."""

from __future__ import annotations

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import ModelCardData

from zoo.model_folder.card import card, header
from zoo.model_folder.citations import SOURCES
from zoo.text.tokenizers import Words

TOKENIZER = Words.train(["one two three"], 50)


def written(**metadata):
    return card(
        "classify", "h_n", "it has read all words", 1234, {"tokenizer": TOKENIZER}, metadata
    )


def test_a_card_without_metadata_has_only_the_model_and_its_use():
    text = written()
    assert text.partition("\n---\n\n")[2].startswith(
        "# classify on unnamed data\n\nReads `h_n` of the LSTM: it has read all words.\n"
    )
    assert f"- 1,234 parameters, tokenizer of {len(TOKENIZER)} words\n" in text
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## Use"]
    assert text.endswith('```python\nimport zoo\n\nzoo.load("FOLDER").predict(["…"])\n```\n')


FIGURES = {
    "name": "owner/model: “new”",
    "data": "ud_ewt",
    "languages": "English to German captions",
    "test": {"accuracy": 0.956, "loss": 0.25, "rows": 3},
}


@pytest.mark.parametrize("metadata", [{}, FIGURES, {"data": "imdb", "test": {"f1": 1.0}}])
def test_the_header_is_what_the_hub_reads(metadata):
    found = ModelCard(written(**metadata)).data
    assert isinstance(found, ModelCardData)
    assert found.to_dict() == header("classify", metadata)
    assert (found.library_name, found.pipeline_tag) == ("sequence-zoo", "text-classification")


def test_the_header_has_languages_licence_and_metrics():
    found = ModelCard(written(**FIGURES)).data
    assert found.language == ["en", "de"]
    assert found.license == "cc-by-sa-4.0"
    assert found.model_name == FIGURES["name"]
    metrics = {one.metric_type: one.metric_value for one in found.eval_results}
    assert metrics == {"accuracy": 0.956, "loss": 0.25}
    assert {one.dataset_name for one in found.eval_results} == {"ud_ewt"}
    assert header("classify", {"languages": "94 languages"})["language"] == ["multilingual"]
    other = header("classify", {"data": "imdb"})
    assert (other["license"], other["license_name"]) == ("other", SOURCES["imdb"].licence)
    assert "license" not in header("classify", {"data": "files"})


def test_metrics_stand_in_one_table_with_gaps():
    text = written(test={"accuracy": 0.5, "loss": 1.25}, baseline={"method": "x", "accuracy": 0.25})
    assert "## Figures" in text
    assert "| metric | test | test, baseline |\n| --- | --- | --- |\n" in text
    assert "| accuracy | 0.5000 | 0.2500 |\n| loss | 1.2500 |  |\n| method |  | x |\n" in text


def test_a_named_corpus_has_its_licence_and_citation():
    text = written(data="imdb")
    assert "\n---\n\n# classify on imdb\n" in text
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

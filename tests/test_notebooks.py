"""Notebooks: what can be said of their text and outputs, and a run of each in its short setting."""

import base64
import importlib.util
import re
import runpy
import struct
from pathlib import Path

import jupytext
import matplotlib.pyplot as plt
import nbformat
import pytest
from markdown_it import MarkdownIt

from zoo.evaluation import plots
from zoo.evaluation.forecast import pictures

# A red square of 2 x 2 pixels, in true colour.
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFklEQVR4nGP8z8DAwMDAxMDAwMDAAAANHQEDasKb6QAAAABJRU5ErkJggg=="
FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NAMES = [
    "1_which_output",
    "2_classify",
    "3_translate",
    "4_generate",
    "5_tag",
    "6_inside_the_cell",
    "7_shared_backbone",
    "8_forecast",
]
LANGUAGES = ["ja", "zh-TW"]
CELLS, LINES = 22, 10  # of cells: without the exercises
LETTER = "[\u3001-\u3017\u3040-\u30ff\u3400-\u9fff\uff00-\uff60]"  # kana, Han and their punctuation
BLANK = re.compile(rf"{LETTER}\s\S|\S\s{LETTER}")  # inside a paragraph


@pytest.fixture(scope="module")
def translate():
    """The command that writes the translations."""
    spec = importlib.util.spec_from_file_location("translate", FOLDER / "translate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def script(name):
    return jupytext.read(FOLDER / f"{name}.py")


def executed(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", 4)


def outputs(name):
    return [output for cell in executed(name).cells for output in cell.get("outputs", [])]


def figures(name):
    data = [output.get("data", {}) for output in outputs(name)]
    return [base64.b64decode(part["image/png"]) for part in data if "image/png" in part]


def test_all_are_there_as_a_script_and_with_outputs():
    assert sorted(path.stem for path in FOLDER.glob("[0-9]*.py")) == NAMES
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_script_and_notebook_are_the_same_cells(name):
    ours, theirs = script(name).cells, executed(name).cells
    assert [(c.cell_type, c.source) for c in ours] == [(c.cell_type, c.source) for c in theirs]


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_and_draws_its_figures(name, monkeypatch):
    """It runs in this process: a kernel that imports everything anew takes longer than most cells."""
    monkeypatch.setenv("ZOO_QUICK", "1")
    for module in plots, pictures:  # of run folders, which are removed before anybody sees them
        monkeypatch.setattr(module, "save_figure", lambda figure, path: None)
    monkeypatch.chdir(FOLDER)
    plt.switch_backend("Agg")
    runpy.run_path(str(FOLDER / f"{name}.py"))
    drawn = len(plt.get_fignums())
    plt.close("all")
    assert drawn == len(figures(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_short_and_calls_the_zoo(name):
    cells = script(name).cells
    assert len(cells) - 3 <= CELLS
    assert max(len(cell.source.splitlines()) for cell in cells) <= LINES
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert "import zoo" in code
    assert "ZOO_QUICK" in code


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_begins_with_summaries_in_three_languages(name):
    first, second = script(name).cells[:2]
    assert first.cell_type == second.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert "日本語" in second.source
    assert "繁體中文" in second.source


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_ends_with_two_exercises_and_their_answers(name):
    asked, solved, told = executed(name).cells[-3:]
    assert re.findall(r"\*\*(Exercise \d)\*\*: ", asked.source) == ["Exercise 1", "Exercise 2"]
    assert re.findall(r"\*\*(Answer \d)\*\*: ", told.source) == ["Answer 1", "Answer 2"]
    assert solved.outputs


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_stands_behind_its_question(name):
    shown, asked = 0, False
    for cell in executed(name).cells:
        if cell.cell_type == "markdown":
            asked = "?" in cell.source
        elif any("image/png" in output.get("data", {}) for output in cell.outputs):
            assert asked, cell.source
            shown += 1
    assert shown


@pytest.mark.parametrize("name", NAMES)
def test_figures_can_be_read_at_800_pixels(name):
    for figure in figures(name):
        width, height = struct.unpack(">II", figure[16:24])
        assert 600 <= width <= 1200
        assert height <= 1000


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_those_of_a_whole_run_without_warnings(name):
    cells = [cell for cell in executed(name).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    kinds = {output.output_type for output in outputs(name)}
    assert "error" not in kinds
    assert not [o for o in outputs(name) if o.output_type == "stream" and o.name == "stderr"]
    text = (FOLDER / f"{name}.ipynb").read_text("utf-8")
    assert "/tmp" not in text
    assert "Warning" not in text


@pytest.mark.parametrize("name", NAMES)
def test_pictures_have_been_reduced(name, translate):
    """Else the same pictures in three languages would be 4 MB: `python notebooks/translate.py`."""
    assert translate.reduce(executed(name)) == executed(name)
    assert [translate.smaller(translate.smaller(PICTURE))] == [translate.smaller(PICTURE)]
    assert translate.smaller(PICTURE) != PICTURE


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", NAMES)
def test_a_translation_is_up_to_date_with_its_text_and_with_the_english_notebook(
    name, language, translate
):
    """If not: `python notebooks/translate.py`."""
    text = FOLDER / language / f"{name}.md"
    made = nbformat.read(text.with_suffix(".ipynb"), 4)
    assert made == translate.translated(executed(name), translate.cells_of(text), text)
    english = executed(name)
    assert len(made.cells) == len(english.cells)
    for ours, theirs in zip(made.cells, english.cells, strict=True):
        if theirs.cell_type == "code":
            assert (ours.source, ours.outputs) == (theirs.source, theirs.outputs)
        else:
            assert ours.source != theirs.source


def paragraphs(text):
    """The paragraphs of a cell, headings without their marks; a line of links is none."""
    found = [part for part in text.split("\n\n") if not part.startswith("[")]
    return [re.sub(r"^# (\d+\. )?", "", part) for part in found]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", NAMES)
def test_no_blank_and_no_line_end_stands_inside_a_translated_sentence(name, language):
    cells = nbformat.read(FOLDER / language / f"{name}.ipynb", 4).cells
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    found = [paragraph for text in texts for paragraph in paragraphs(text)]
    assert not [paragraph for paragraph in found if BLANK.search(paragraph)]
    shown = [MarkdownIt().render(text) for text in texts]
    assert not [text for text in shown if "**" in text], "marks that are not read as bold"


@pytest.mark.parametrize("name", NAMES)
def test_no_blank_stands_inside_the_summaries(name):
    assert not [text for text in paragraphs(script(name).cells[1].source) if BLANK.search(text)]


@pytest.mark.parametrize("wrong", ["二つの 文", "`h_n` です", "文。 次", "一行\n二行", "を `h_n`"])
def test_blanks_are_found(wrong):
    assert BLANK.search(wrong)


@pytest.mark.parametrize("name", NAMES)
def test_translations_give_the_figures_of_the_english_text(name, translate):
    """Every number with decimals or a % sign stands in each language."""
    number = re.compile(r"\d+\.\d+|\d+(?= ?%)")
    cells = [cell.source for cell in script(name).cells if cell.cell_type == "markdown"]
    wanted = sorted(number.findall("\n".join(cells)))
    for language in LANGUAGES:
        cells = translate.cells_of(FOLDER / language / f"{name}.md")
        assert sorted(number.findall("\n".join(cells))) == wanted


def test_a_text_with_a_cell_too_few_is_refused(translate):
    text = FOLDER / "ja" / f"{NAMES[0]}.md"
    with pytest.raises(ValueError, match=r"8 text cells, the notebook has 9"):
        translate.translated(executed(NAMES[0]), translate.cells_of(text)[1:], text)

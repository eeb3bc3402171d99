"""What can be said of notebooks without running them; nbmake runs them (notebooks/conftest.py)."""

import base64
import struct
from pathlib import Path

import jupytext
import nbformat
import pytest

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
CELLS, LINES = 15, 10


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
def test_a_notebook_is_short_and_calls_the_zoo(name):
    cells = script(name).cells
    assert len(cells) <= CELLS
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

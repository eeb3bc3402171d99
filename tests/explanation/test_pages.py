"""Explanations as they are shown: in a terminal, as a page of HTML, as a picture."""

from __future__ import annotations

import copy
import io
import re
from html.parser import HTMLParser

import pytest
from every_task import TASKS, toys, untrained
from rich.console import Console

from zoo.explanation import page, picture, terminal
from zoo.generation.config import GenerationConfig
from zoo.task import Generative

SHORT = GenerationConfig(beam_size=1, max_length=4)


@pytest.fixture(scope="module", params=TASKS)
def found(request):
    task = untrained(request.param)
    row = toys(task.name)[0]
    asked = {name: row.get(name, row.get("text")) for name in task.input_columns}
    options = {"config": SHORT} if isinstance(task, Generative) else {}
    return task.explain(asked, **options)


def shown(found, **options):
    stream = io.StringIO()
    terminal.show(found, "an answer", Console(file=stream, highlight=False, **options))
    return stream.getvalue()


def test_without_a_terminal_signs_and_numbers_stand_behind_the_tokens(found):
    text = shown(found)
    assert "\x1b" not in text
    assert text.startswith("answer: an answer")
    assert max(map(len, text.splitlines())) <= terminal.WIDTH
    strongest = max(found["occlusion"], key=abs)
    assert f"({strongest:+.2g})" in text.replace("\n", "")
    assert "norm of output at each step" in text
    for cell in found["lstm"]["cells"]:
        assert f"step {cell['h_n']['step'] + 1} of {len(cell['output'])}" in text


def test_a_terminal_shows_colours(found):
    text = shown(found, force_terminal=True, color_system="truecolor", width=200)
    assert re.search(r"\x1b\[1?;?[\d;]*48;2;", text)
    plain = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert max(map(len, plain.splitlines())) <= terminal.WIDTH


class Page(HTMLParser):
    """Collects the tags, the addresses and the text of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.addresses, self.seen = [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href")]
        assert not [name for name, _ in attributes if name.startswith("on")]

    def handle_data(self, data):
        self.seen += data


def test_a_page_stands_alone_and_shows_text_as_text(found, tmp_path):
    found = copy.deepcopy(found)
    found["tokens"][0] = "<script>alert(1)</script>&\x1b[31m"
    found["target"] = found["tokens"][0]
    path = tmp_path / "a.png"
    path.write_bytes(b"not read here")
    page.write(found, "<b>an answer", [path], tmp_path / "why.html")
    html = (tmp_path / "why.html").read_text("utf-8")
    read = Page(html)
    assert "script" not in read.tags
    assert "b" not in read.tags
    assert "<script>alert(1)</script>&" in read.seen
    assert "\x1b" not in html
    assert [address[:22] for address in read.addresses] == ["data:image/png;base64,"]
    assert not re.search(r"https?:|//", html.split("base64,")[0])


def test_a_picture_has_bars_for_each_token_and_the_states_below(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(
        "zoo.evaluation.plots.save_figure", lambda figure, path: kept.append(figure)
    )
    found = untrained("classify").explain("The sea and the mountain")
    picture.draw(found, "an answer", tmp_path / "why.png")
    top, below, right = kept[0].axes
    assert [bar.get_height() for bar in top.containers[0]] == found["occlusion"]
    assert [bar.get_height() for bar in right.containers[0]] == found["gradient"]
    names = [text.get_text() for text in below.get_legend().get_texts()]
    sides = ("output, forward", "h_n, read", "c_n, not read")
    assert names == [*sides, "output, backward", *sides[1:]]


def test_bars_show_long_rows_in_one_line():
    assert terminal.bars([0, 1]) == "▁█"
    assert len(terminal.bars([*range(1000)])) <= terminal.LONGEST
    assert terminal.bars([0, 0]) == "▁▁"


def test_what_would_steer_a_terminal_is_not_printed():
    assert terminal.visible("a\x1b[31m\nb\tc") == "a [31m↵b c"

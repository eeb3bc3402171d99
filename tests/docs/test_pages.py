"""Documents become pages whose links lead to pages; the built site is checked where MkDocs is."""

from __future__ import annotations

import importlib.util
from pathlib import PurePosixPath

import pytest
from conftest import ROOT

from zoo.docs import links, pages, site
from zoo.errors import InputError


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("README.md", "index.md"),
        ("README.zh-TW.md", "index.zh-TW.md"),
        ("tasks/README.ja.md", "tasks/index.ja.md"),
        (".github/SECURITY.md", "security.md"),
        ("notebooks/5_tag.ipynb", "notebooks/5_tag.md"),
        ("notebooks/ja/5_tag.ipynb", "notebooks/5_tag.ja.md"),
        ("tasks/tag.py", "source/tasks/tag_py.md"),
        ("zoo/serving/explorer.png", "zoo/serving/explorer.png"),
    ],
)
def test_where_a_file_stands_on_the_site(name, page):
    assert pages.page_of(name) == page


def test_links_lead_from_page_to_page():
    text = "[`tag`](tag.py), [rnn](../zoo/rnn/README.md#a), [here](#b), [out](https://a.b)\n"
    text += "```bash\n[not](a/link.md)\n```\n"
    linked, found = pages.relink(text, "tasks/README.md", ROOT)
    assert found == ["tasks/tag.py", "zoo/rnn/README.md"]
    assert linked.splitlines()[0] == (
        "[`tag`](../source/tasks/tag_py.md), [rnn](../zoo/rnn/index.md#a), [here](#b), "
        "[out](https://a.b)"
    )
    assert "[not](a/link.md)" in linked
    with pytest.raises(FileNotFoundError, match=r"tasks/README.md: leads to lost.md"):
        pages.relink("[a](lost.md)", "tasks/README.md", ROOT)


def test_a_translation_leads_to_the_translation_or_to_the_english_page_that_it_names():
    text, _ = pages.relink("[a](README.ja.md), [b](README.md#c)", "tasks/README.ja.md", ROOT)
    assert text == "[a](index.md), [b](site:/tasks/index.html#c)"
    text, _ = pages.relink("[a](ja/5_tag.ipynb)", "notebooks/README.md", ROOT)
    assert text == "[a](site:/ja/notebooks/5_tag.html)"
    page = PurePosixPath("zh-TW/notebooks/index.html")
    assert pages.place_links('<a href="site:/ja/a.html">', page) == '<a href="../../ja/a.html">'


def test_a_translation_has_the_anchors_of_the_english_document():
    text = pages.with_places("# 甲\n\n```bash\n# no heading\n```\n", "# A\n\n## B: c d\n")
    assert text.startswith('# 甲\n\n<a id="a"></a>')
    assert text.rstrip().endswith('<a id="b-c-d"></a>')


def test_every_document_becomes_a_page_with_what_it_leads_to(tmp_path):
    found = pages.collect(ROOT, tmp_path, lambda notebook, page: page.write_text(notebook.stem))
    assert {"README.md", "README.ja.md", "zoo/data/README.md", "notebooks/8_forecast.ipynb"} <= {
        *found
    }
    assert all((tmp_path / pages.page_of(name)).is_file() for name in found)
    readme = (tmp_path / "index.md").read_text("utf-8")
    assert "README.ja.md" not in readme
    assert "](tasks/index.md)" in readme


def test_a_site_with_a_broken_link_is_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<a href="b.html#x">1</a><a href="c.html">2</a><a href="/b.html">3</a>'
        '<script src="https://cdn.example/x.js"></script><a href="https://a.b">4</a>'
    )
    (tmp_path / "b.html").write_text('<p id="y"></p>')
    assert links.broken(tmp_path) == [
        "a.html: loads https://cdn.example/x.js",
        "a.html: b.html#x has no such place",
        "a.html: c.html is not there",
    ]


def test_a_folder_of_something_else_is_not_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr(site, "MODULES", ())
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something that is no site"):
        site.build(tmp_path)


def test_without_its_packages_the_command_says_how_to_install_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(site, "MODULES", ("no_such_package",))
    assert site.main([str(tmp_path / "site")]) == 2
    assert capsys.readouterr().err == (
        'error: no package no_such_package: pip install -e ".[docs]"\n'
    )


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in site.MODULES),
    reason='the site needs pip install -e ".[docs]"',
)
@pytest.mark.filterwarnings("default")
def test_the_site_has_no_broken_link_and_loads_nothing_from_elsewhere(tmp_path):
    """`build` checks all links itself."""
    assert site.build(tmp_path / "site") > 90
    for language, title in (("", "Which output"), ("ja/", "どの出力"), ("zh-TW/", "該用哪個輸出")):
        assert title in (tmp_path / "site" / f"{language}tasks" / "index.html").read_text("utf-8")
    reference = (tmp_path / "site" / "api.html").read_text("utf-8")
    assert 'id="zoo.LSTM"' in reference

"""Citations: every named corpus that a card can show has a description, a licence and a source."""

from __future__ import annotations

import pytest

from zoo.data.corpora import CORPORA
from zoo.model_folder.citations import SOURCES


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_is_complete_and_belongs_to_a_corpus(name):
    assert name in CORPORA
    source = SOURCES[name]
    assert all(
        text and text == text.strip() for text in (source.about, source.licence, source.cite)
    )
    assert not source.about.endswith(".")  # the card adds the full stop
    assert not source.licence.endswith(".")
    assert not source.cite.endswith(".")

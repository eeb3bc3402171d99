"""Scores of translations, by sacreBLEU, with the signatures that make them comparable."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

# Scripts that are written without blanks: Thai, Lao, Myanmar, Khmer, kana, Han.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


def translation(found: Sequence[str], wanted: Sequence[str]) -> dict[str, float]:
    """bleu and chrf (cased, detokenised text, 0 to 100), bleu_lowercase (as papers report it, on
    lower-cased tokens) and exact_match (share of the texts, 0 to 1)."""
    scores = {name: metric.corpus_score(found, [wanted]).score for name, metric in _metrics(wanted)}
    same = sum(a.strip() == b.strip() for a, b in zip(found, wanted, strict=True))
    return scores | {"exact_match": same / max(1, len(wanted))}


def signatures(wanted: Sequence[str]) -> dict[str, str]:
    """What each score of `translation` is computed with, in sacreBLEU's own words."""
    described = {}
    for name, metric in _metrics(wanted):
        metric.corpus_score([""], [[""]])  # without references it has no signature
        described[name] = str(metric.get_signature())
    return described


def tokenization(wanted: Sequence[str]) -> str:
    """sacreBLEU's tokenizer for these references: "char" where most letters belong to a script
    without blanks, else "13a", which is mteval's."""
    letters = [c for text in wanted for c in text if c.isalpha()]
    unspaced = sum(bool(_UNSPACED.match(c)) for c in letters)
    return "char" if 2 * unspaced > len(letters) else "13a"


def _metrics(wanted: Sequence[str]) -> list[tuple[str, Any]]:
    from sacrebleu.metrics import BLEU, CHRF

    how = tokenization(wanted)
    return [
        ("bleu", BLEU(tokenize=how, force=True)),  # force: no advice on stderr
        ("bleu_lowercase", BLEU(tokenize=how, lowercase=True, force=True)),
        ("chrf", CHRF()),
    ]

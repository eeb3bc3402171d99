"""Compare a classifier of languages with langid.py, lingua, langdetect and TF-IDF.

Each pair of sides answers the same rows, of the languages that both know, and each chooses among
these languages alone. What a peer writes alike is one language: the two scripts of Chinese. Serbian
in Latin letters is left out, because the peers know it in Cyrillic ones.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from importlib.util import find_spec
from typing import Any

from zoo.config import check, compose
from zoo.data.corpora import open_corpus
from zoo.data.corpora.languages import split_words
from zoo.data.readers import Row
from zoo.errors import InputError
from zoo.evaluation import baselines
from zoo.loading import load
from zoo.task import predict_rows

log = logging.getLogger("zoo")

LENGTHS: dict[str, tuple[list[int] | None, int]] = {  # words that are cut; fewest of a whole text
    "whole texts": (None, 1),
    "whole texts of 4 words or more": (None, 4),
    "4 to 10 words": ([4, 10], 1),
    "1 to 3 words": ([1, 3], 1),
}
NAMES = {"zh_Hans": "zh", "zh_Hant": "zh", "zh-cn": "zh", "zh-tw": "zh", "no": "nb"}
LEFT_OUT = ("sr_Latn",)
UNIT = "of the rows right"
TFIDF = "tfidf"

Answer = Callable[[str], str]  # a text's language


def langid(arguments: Sequence[str], rounds: int) -> list[dict[str, Any]]:
    """Compare `model=DIR` with its peers on the test rows of `data.path=FOLDER data.test=[…]`.

    `peers=tfidf,lingua` asks these alone. Peers that are not installed are left out, with a log
    line. `rounds` is not used: a model's answers are the same each time. Raises InputError without a
    model, and for an unknown peer.
    """
    given = dict(argument.partition("=")[::2] for argument in arguments)
    if "model" not in given:
        raise InputError("zoo.bench langid needs model=DIR, a classifier of languages")
    peers = given.get("peers", ",".join((TFIDF, *PEERS))).split(",")
    if unknown := sorted({*peers} - {TFIDF, *PEERS}):
        there = ", ".join((TFIDF, *PEERS))
        raise InputError(f"peers={unknown[0]}: no such identifier; there are: {there}")
    model = load(given["model"])
    rest = [a for a in arguments if not a.startswith(("model=", "peers="))]
    data = check(compose(["task=classify", "data=sentences", *rest])).data
    found = []
    for length, (words, fewest) in LENGTHS.items():
        splits = open_corpus({**data, "words": words})
        rows = [row for row in splits.test if len(split_words(row["text"])) >= fewest]
        answers = [answer["probabilities"] for answer in predict_rows(model, rows)]
        found += _beside(length, rows, answers, splits.train, peers)
    return found


def _beside(
    length: str,
    rows: list[Row],
    answers: list[dict[str, float]],
    train: Iterable[Row],
    peers: Collection[str],
) -> list[dict[str, Any]]:
    """Return a case for each of the peers."""
    labels = {row["label"] for row in rows}
    found = []
    if TFIDF in peers:
        right = [max(known, key=known.__getitem__) for known in answers]
        score = _share([row["label"] for row in rows], right)
        other = baselines.tfidf(train, rows, "subwords")["accuracy"]
        found.append(_case(f"{length}, TF-IDF", score, other, len(rows), len(labels)))
    for name, build in PEERS.items():
        if name not in peers:
            continue
        if find_spec(name) is None:
            log.warning("%s is not installed: left out", name)
            continue
        codes, answer = build({NAMES.get(label, label) for label in labels - {*LEFT_OUT}})
        both = [
            (row, known)
            for row, known in zip(rows, answers, strict=True)
            if row["label"] not in LEFT_OUT and NAMES.get(row["label"], row["label"]) in codes
        ]
        wanted = [NAMES.get(row["label"], row["label"]) for row, _ in both]
        ours = [_among(known, codes) for _, known in both]
        theirs = [answer(row["text"]) for row, _ in both]
        score, other = _share(wanted, ours), _share(wanted, theirs)
        found.append(_case(f"{length}, {name}", score, other, len(both), len({*wanted})))
    return found


def _case(name: str, ours: float, peer: float, rows: int, languages: int) -> dict[str, Any]:
    return {
        "name": f"{name}: {rows:,} rows of {languages} languages",
        "unit": UNIT,
        "ours": ours,
        "peer": peer,
        "ratio": ours / max(peer, 1e-9),
    }


def _share(wanted: Sequence[str], found: Sequence[str]) -> float:
    return sum(map(str.__eq__, wanted, found)) / max(1, len(wanted))


def _among(known: dict[str, float], codes: Collection[str]) -> str:
    """Return the most probable language among `codes`."""
    there = [label for label in known if label not in LEFT_OUT and NAMES.get(label, label) in codes]
    best = max(there, key=known.__getitem__)
    return NAMES.get(best, best)


def _langid(labels: Collection[str]) -> tuple[set[str], Answer]:
    from langid.langid import LanguageIdentifier, model

    identifier = LanguageIdentifier.from_modelstring(model)
    codes = {code for code in identifier.nb_classes if NAMES.get(code, code) in labels}
    identifier.set_languages(sorted(codes))

    def answer(text: str) -> str:
        code = identifier.classify(text)[0]
        return NAMES.get(code, code)

    return {NAMES.get(code, code) for code in codes}, answer


def _lingua(labels: Collection[str]) -> tuple[set[str], Answer]:
    from lingua import Language, LanguageDetectorBuilder

    known = {each.iso_code_639_1.name.lower(): each for each in Language.all()}
    codes = {code for code in known if code in labels}
    chosen = [known[code] for code in sorted(codes)]
    detector = LanguageDetectorBuilder.from_languages(*chosen).build()

    def answer(text: str) -> str:
        found = detector.detect_language_of(text)
        return "" if found is None else found.iso_code_639_1.name.lower()

    return codes, answer


def _langdetect(labels: Collection[str]) -> tuple[set[str], Answer]:
    from langdetect import DetectorFactory, LangDetectException, detector_factory

    DetectorFactory.seed = 0
    detector_factory.init_factory()
    factory = detector_factory._factory
    codes = {code for code in factory.get_lang_list() if NAMES.get(code, code) in labels}

    def answer(text: str) -> str:
        detector = factory.create()
        detector.set_prior_map(dict.fromkeys(codes, 1.0))
        detector.append(text)
        try:
            code = detector.detect()
        except LangDetectException:  # no letters
            return ""
        return NAMES.get(code, code)

    return {NAMES.get(code, code) for code in codes}, answer


PEERS: dict[str, Callable[[Collection[str]], tuple[set[str], Answer]]] = {
    "langid": _langid,
    "lingua": _lingua,
    "langdetect": _langdetect,
}

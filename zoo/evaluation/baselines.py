"""Baselines: well-known methods without a neural network, on the same rows.

scikit-learn is imported inside the functions, because prediction does not need it.
"""

from __future__ import annotations

import math
import re
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np

from zoo.data import features, labelled_words
from zoo.data.processors import MOST_LABELS, decide
from zoo.data.readers import Row, label_set
from zoo.evaluation import label_sets, metrics
from zoo.text import bio
from zoo.text.scripts import MOSTLY_UNSPACED, unspaced_share

SCRIPT_ROWS = 2000  # rows that tell the script
CHOOSING = 2000  # training rows that tell whether words or characters are better features
CHOOSING_CHARACTERS = 1_000_000  # of these rows
FOLDS = 5  # parts of them; one is held out
ENOUGH = 1000  # rows from which on one part tells enough
VALID = 10  # one training row in so many chooses thresholds
CHUNK = 1_000  # test rows whose probabilities are in memory
MOST_ROWS = 50_000  # training rows that a baseline reads: it keeps its texts in memory


def tfidf(train: Iterable[Row], test: Iterable[Row], kind: str) -> dict[str, Any]:
    """Classify with TF-IDF features and logistic regression.

    The features are words and word bigrams, or n-grams of 1 to 3 characters: those that are right
    more often on training rows that are held out. If they tie, a tokenizer `kind` of "words" means
    words. For scripts without blanks, and where no word occurs twice, they are always characters.

    Rows with lists of labels have a regression for each label, and thresholds chosen by the rule of
    the model on a tenth of the training rows.

    Returns method, accuracy and macro_f1 or the scores of label sets, the number of training rows,
    and seconds.
    """
    from sklearn.metrics import accuracy_score, f1_score
    from sklearn.pipeline import make_pipeline

    start = time.perf_counter()
    rows = list(islice(train, MOST_ROWS))
    several = any(isinstance(row["label"], (list, tuple)) for row in rows)
    labels = [] if several else [str(row["label"]) for row in rows]
    texts = [str(row["text"]) for row in rows]
    unspaced = unspaced_share(Counter("".join(texts[:SCRIPT_ROWS]))) >= MOSTLY_UNSPACED
    words = not unspaced and _repeats_words(texts)
    if words:
        words = kind == "words" if several else _words_are_better(texts, labels, kind == "words")
    features = _ngrams(texts, words)
    if several:
        return _tfidf_of_sets(features, rows, test) | {
            "rows": len(rows),
            "seconds": round(time.perf_counter() - start, 1),
        }
    model = make_pipeline(features, _regression(labels)).fit(texts, labels)
    wanted = []
    asked = []
    for row in test:
        wanted.append(str(row["label"]))
        asked.append(str(row["text"]))
    found = model.predict(asked)
    return {
        "method": "TF-IDF + logistic regression",
        "accuracy": float(accuracy_score(wanted, found)),
        "macro_f1": float(f1_score(wanted, found, average="macro", zero_division=0)),
        "rows": len(rows),
        "seconds": round(time.perf_counter() - start, 1),
    }


def _ngrams(texts: Sequence[str], words: bool) -> Any:
    """Return the TF-IDF vectorizer of words, or of characters, for training texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        analyzer="word" if words else "char_wb",
        ngram_range=(1, 2) if words else (1, 3),
        min_df=min(2, len(texts)) if words or _repeats_characters(texts) else 1,
        max_features=None if words else 30_000,
        sublinear_tf=True,
    )


def _regression(labels: Sequence[str]) -> Any:
    """Return a logistic regression that has not been fitted."""
    from sklearn.linear_model import LogisticRegression, SGDClassifier

    if len(set(labels)) <= 10:
        return LogisticRegression(C=10.0, max_iter=1000)
    # For many labels it is as accurate, and many times faster.
    return SGDClassifier("log_loss", alpha=1e-6, max_iter=10, tol=None, random_state=0)


def _words_are_better(texts: Sequence[str], labels: Sequence[str], otherwise: bool) -> bool:
    """Return whether words classify held-out rows better than characters; `otherwise` in a tie.

    Random rows are read: at most CHOOSING, of CHOOSING_CHARACTERS. They are cut into FOLDS, and
    each part is held out once; of ENOUGH rows or more the first part only.
    """
    from sklearn.pipeline import make_pipeline

    order = np.random.default_rng(0).permutation(len(texts))[:CHOOSING]
    size = np.cumsum([len(texts[row]) for row in order])
    order = order[: 1 + np.searchsorted(size, CHOOSING_CHARACTERS)]
    right = Counter[bool]()
    for fold in range(FOLDS if len(order) < ENOUGH else 1):
        held = order[fold::FOLDS].tolist()
        learned = np.delete(order, np.s_[fold::FOLDS]).tolist()
        some, own = [texts[row] for row in learned], [labels[row] for row in learned]
        if not held or len({*own}) < 2 or not _repeats_words(some):
            continue
        for words in (True, False):
            model = make_pipeline(_ngrams(some, words), _regression(own)).fit(some, own)
            found = model.predict([texts[row] for row in held])
            right[words] += sum(a == labels[row] for a, row in zip(found, held, strict=True))
    return otherwise if right[True] == right[False] else right[True] > right[False]


def _tfidf_of_sets(features: Any, rows: list[Row], test: Iterable[Row]) -> dict[str, Any]:
    """Return method and scores of a logistic regression for each label, on TF-IDF features."""
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MultiLabelBinarizer

    labels = sorted({label for row in rows for label in label_set(row)})
    binarizer = MultiLabelBinarizer(classes=labels, sparse_output=True)
    model = make_pipeline(features, OneVsRestClassifier(_regression(labels)))

    def fit(some: list[Row]) -> None:
        wanted = binarizer.fit_transform([label_set(row) for row in some])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a label that no row has, or each
            model.fit([str(row["text"]) for row in some], wanted)

    def predict(some: list[Row]) -> list[dict[str, float]]:
        shares = model.predict_proba([str(row["text"]) for row in some])
        order = (-shares).argsort(1, kind="stable")[:, :MOST_LABELS]
        return [
            {labels[number]: float(row[number]) for number in numbers}
            for row, numbers in zip(shares, order.tolist(), strict=True)
        ]

    held = rows[::VALID]
    fit([row for number, row in enumerate(rows) if number % VALID])
    wanted = [label_set(row) for row in held]
    thresholds = label_sets.choose_thresholds(predict(held), wanted, labels)
    fit(rows)
    found: list[list[str]] = []
    truth: list[list[str]] = []
    stream = iter(test)
    while chunk := list(islice(stream, CHUNK)):
        found += [decide(shares, thresholds) for shares in predict(chunk)]
        truth += [label_set(row) for row in chunk]
    return {"method": "TF-IDF + logistic regression", **label_sets.scores(found, truth)}


def _repeats_words(texts: Sequence[str]) -> bool:
    """Return whether a word of two letters or digits occurs in two texts."""
    return _repeats({*re.findall(r"\b\w\w+\b", text.lower())} for text in texts)


def _repeats_characters(texts: Sequence[str]) -> bool:
    """Return whether a character occurs in two texts."""
    return _repeats({*text.lower()} - {" "} for text in texts)


def _repeats(parts: Iterable[set[str]]) -> bool:
    seen: set[str] = set()
    for some in parts:
        if seen & some:
            return True
        seen |= some
    return False


def sequence_statistics(
    train: Iterable[Row], test: Iterable[Row], kind: str = ""
) -> dict[str, Any]:
    """Classify float sequences with logistic regression.

    Its features are all values if all sequences are equally long, else mean, deviation, first and
    last of each feature. Returns method, accuracy, macro_f1, the number of training rows, seconds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, f1_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    start = time.perf_counter()
    rows, asked = list(islice(train, MOST_ROWS)), list(test)
    known, new = ([features.of_row(row, "text") for row in some] for some in (rows, asked))
    equal = len({values.shape for values in (*known, *new)}) == 1
    vector = np.ravel if equal else features.summary
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit([vector(values) for values in known], [str(row["label"]) for row in rows])
    found = model.predict([vector(values) for values in new])
    wanted = [str(row["label"]) for row in asked]
    of = "all values" if equal else "mean, deviation, first, last"
    return {
        "method": f"logistic regression ({of})",
        "accuracy": float(accuracy_score(wanted, found)),
        "macro_f1": float(f1_score(wanted, found, average="macro", zero_division=0)),
        "rows": len(rows),
        "seconds": round(time.perf_counter() - start, 1),
    }


def step_tagger(train: Iterable[Row], test: Iterable[Row], kind: str = "") -> dict[str, Any]:
    """Tag each step of float sequences with logistic regression on it and its two neighbours.

    Returns method, accuracy, the number of training rows, and seconds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    start = time.perf_counter()
    rows, asked = list(islice(train, MOST_ROWS)), list(test)
    known, new = (
        np.concatenate([features.with_neighbours(features.of_row(row, "words")) for row in some])
        for some in (rows, asked)
    )
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(known, [label for row in rows for label in labelled_words.labels(row)])
    wanted = [label for row in asked for label in labelled_words.labels(row)]
    return {
        "method": "logistic regression, step by step",
        "accuracy": float(np.mean(model.predict(new) == np.array(wanted))),
        "rows": len(rows),
        "seconds": round(time.perf_counter() - start, 1),
    }


def nearest_pair(train: Iterable[Row], test: Iterable[Row], kind: str = "") -> dict[str, Any]:
    """Translate with a translation memory: the target of the nearest training source.

    The nearest source has the highest cosine similarity of TF-IDF n-grams of 1 to 4 characters.

    Returns method, the scores of `zoo.evaluation.metrics.translation`, the number of training rows,
    and seconds.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.neighbors import NearestNeighbors

    start = time.perf_counter()
    rows = list(islice(train, MOST_ROWS))
    features = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True)
    known = features.fit_transform([str(row["source"]) for row in rows])
    nearest = NearestNeighbors(n_neighbors=1, metric="cosine", algorithm="brute").fit(known)
    asked = list(test)
    neighbours = nearest.kneighbors(
        features.transform([str(row["source"]) for row in asked]), return_distance=False
    )
    found = [str(rows[int(i)]["target"]) for i in neighbours[:, 0]]
    return {
        "method": "nearest training pair",
        **metrics.translation(found, [str(row["target"]) for row in asked]),
        "rows": len(rows),
        "seconds": round(time.perf_counter() - start, 1),
    }


def lzma_compression(train: Iterable[Row], test: Iterable[Row], kind: str = "") -> dict[str, Any]:
    """Score LZMA as a language model: it compresses the test text after the training text.

    The extra compressed size, in bits, stands for -log2 of the probability of the test text.

    Returns method, perplexity per word and bits_per_character as `zoo.evaluation.metrics.perplexity`
    does, the number of training rows, and seconds.
    """
    import lzma

    start = time.perf_counter()
    rows = list(islice(train, MOST_ROWS))
    known = "".join(f"{row['text']}\n" for row in rows).encode()
    texts = [str(row["text"]) for row in test]
    asked = "".join(f"{text}\n" for text in texts).encode()
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 1 << 26}]

    def size(text: bytes) -> int:
        return len(lzma.compress(text, lzma.FORMAT_RAW, filters=filters))

    nats = 8 * (size(known + asked) - size(known)) * math.log(2)
    answers = [metrics.likelihood({"": nats}, [])]
    found = metrics.perplexity(answers, texts, by_line=True)
    return {
        "method": "LZMA",
        "perplexity": found["perplexity"],
        "bits_per_character": found["bits_per_character"],
        "rows": len(rows),
        "seconds": round(time.perf_counter() - start, 1),
    }


def linear_tagger(train: Iterable[Row], test: Iterable[Row], kind: str = "") -> dict[str, Any]:
    """Tag each word on its own with a linear classifier.

    The features are the word, its affixes, its word shape, and the words around it.

    Returns method, the scores of `zoo.evaluation.metrics.tagging`, the number of training rows, and
    seconds.
    """
    from sklearn.feature_extraction import FeatureHasher
    from sklearn.linear_model import SGDClassifier
    from sklearn.pipeline import make_pipeline

    start = time.perf_counter()
    rows = list(islice(train, MOST_ROWS))
    seen = {word for row in rows for word in labelled_words.words(row)}
    labels = [label for row in rows for label in labelled_words.labels(row)]
    model = make_pipeline(
        FeatureHasher(1 << 20, input_type="string"),
        SGDClassifier("modified_huber", alpha=1e-5, max_iter=8, tol=None, random_state=0),
    )
    known = [of_word for row in rows for of_word in _features(labelled_words.words(row))]
    model.fit(known, labels)
    asked = list(test)
    words = [labelled_words.words(row) for row in asked]
    features = [of_word for sentence in words for of_word in _features(sentence)]
    predicted = iter(model.predict(features).tolist())
    found = [list(islice(predicted, len(sentence))) for sentence in words]
    wanted = [labelled_words.labels(row) for row in asked]
    unseen = [[word not in seen for word in sentence] for sentence in words]
    return {
        "method": "linear, word by word",
        **metrics.tagging(found, wanted, unseen, bio.are_spans(labels)),
        "rows": len(rows),
        "seconds": round(time.perf_counter() - start, 1),
    }


def _features(words: list[str]) -> list[list[str]]:
    """Return the features of each word for the linear tagger (after Ratnaparkhi 1996)."""
    padded = ["<", "<", *words, ">", ">"]
    features = []
    for position, word in enumerate(words, 2):
        affixes = [f"{n} {word[:n]}" for n in (1, 2, 3)] + [
            f"-{n} {word[-n:]}" for n in (1, 2, 3, 4)
        ]
        near = {n: padded[position + n] for n in (-2, -1, 1, 2)}
        around = [f"{n:+} {other}" for n, other in near.items()]
        around += [f"{n:+} -3 {near[n][-3:]}" for n in (-1, 1)]
        pairs = [f"-1 0 {near[-1]} {word}", f"0 +1 {word} {near[1]}"]
        shape = "".join(
            "X" if c.isupper() else "x" if c.isalpha() else "0" if c.isdigit() else c for c in word
        )
        features.append(
            [
                f"0 {word}",
                f"low {word.lower()}",
                f"looks {shape[:8]}",
                "bias",
                *affixes,
                *around,
                *pairs,
            ]
        )
    return features

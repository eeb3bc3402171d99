"""`data=sentences`: texts labelled with their language, and message catalogs beside them."""

from zoo.data.corpora.languages.labelled import cut, part_of, sentences, split_words, without_points

__all__ = ["cut", "part_of", "sentences", "split_words", "without_points"]

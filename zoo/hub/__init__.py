"""The model folder: what training writes is what `load` reads.

    config.json         task, options, backbone, tokenizer, search; metrics, data, environment
    model.safetensors   the weights
    vocabulary.json or sentencepiece.model
    README.md           the model card
    expected.json       inputs and answers, of models that come with the package
    manifest.json       sha256 of each of these files

Loading is strict and runs nothing: no pickle, no code, no YAML. A missing, changed or unknown
file, key, tensor or value is an error that names it.
"""

from zoo.model_folder.card import FACTS
from zoo.model_folder.format import load, load_tokenizers, save_model, save_tokenizers
from zoo.model_folder.verify import TARGET, read_config, read_search

__all__ = [
    "FACTS", "TARGET", "load", "load_tokenizers", "read_config", "read_search", "save_model", "save_tokenizers",
]  # fmt: skip

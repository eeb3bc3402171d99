"""The model folder: written by training, read by `zoo.load`.

    config.json         task, options, generation, end_ids, backbone, tokenizer, metadata
    model.safetensors   the weights
    vocabulary.json or sentencepiece.model
    README.md           the model card
    expected.json       inputs and their answers, for shipped models
    manifest.json       sha256 of each of these files

Loading is strict and runs no code from the folder: no pickle, no Python, no YAML. A missing,
changed or unknown file, key, tensor or value raises an error that names it.
"""

"""The model folder: what training writes is what `zoo.load` reads.

    config.json         task, options, backbone, tokenizer, search; metrics, data, environment
    model.safetensors   the weights
    vocabulary.json or sentencepiece.model
    README.md           the model card
    expected.json       inputs and answers, of models that come with the package
    manifest.json       sha256 of each of these files

Loading is strict and runs nothing: no pickle, no code, no YAML. A missing, changed or unknown
file, key, tensor or value is an error that names it.
"""

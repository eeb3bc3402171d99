"""The model folder: written by training, read by `zoo.load`.

    config.json         format, task, config, backbone, processors, metadata
    model.safetensors   the weights
    tokenizer.json, …   the processors: NAME.json, or NAME.model for subwords
    README.md           the model card
    expected.json       inputs and their answers, for shipped models
    manifest.json       sha256 of each of these files

Loading is strict and runs no code from the folder: no pickle, no Python, no YAML. A missing,
changed or unknown file, key, tensor or value raises an error that names it. This is format 2;
`format_1` reads the first one.
"""

"""The folder of an exported model: a list of its files with their hashes, and its config.

    runtime.json    {"program": "sequence-zoo", "runtime": 1, "files": {name: sha256}}, written last
    config.json     task, options, processors, generation config
    *.onnx          the graphs; *.npy an array beside them
    NAME.json …     the processors, as in a model folder

Reading is strict: a file that is missing, changed or unknown is an error. No code is run from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from zoo.data.processors import PROCESSORS, Processor
from zoo.errors import InputError
from zoo.files import read_json
from zoo.files.own_files import PROGRAM

MARKER = "runtime.json"
CONFIG = "config.json"
FORMAT = 1
KEYS = {"task", "form", "options", "processors", "generation", "reads", "why", "metadata"}
FORMS = "fp32", "int8"
GRAPHS = "model.onnx", "next.onnx"
ARRAYS = ("start.npy", "transitions.npy", "end.npy")
LARGEST = 1 << 25  # bytes of a .json file that is not a processor's

Run = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Folder:
    """A verified folder. The processors are loaded, the graphs are not."""

    path: Path
    task: str
    form: Literal["fp32", "int8"]
    options: dict[str, Any]
    processors: dict[str, Processor]
    generation: dict[str, Any] | None  # "values" and their JSON "schema", of tasks that generate
    reads: str
    why: str
    metadata: dict[str, Any]
    files: frozenset[str]

    @classmethod
    def read(cls, path: Path) -> Folder:
        """Verify and read a folder. Raises InputError that names the faulty file."""
        files = _verified(path)
        place = path / CONFIG
        config = _object(place, KEYS)
        kinds = config.pop("processors")
        for name, wanted in (("options", dict), ("metadata", dict), ("task", str)):
            if not isinstance(config[name], wanted):
                raise InputError(f"{place}: {name} is of a wrong type")
        if config["form"] not in FORMS:
            raise InputError(f"{place}: form {config['form']!r} is none of {', '.join(FORMS)}")
        own = {CONFIG, *files & {*GRAPHS, *ARRAYS}}
        processors = {}
        for name, file in processor_files(place, kinds).items():
            if file not in files:
                raise InputError(f"{path / MARKER}: does not list the processor {file}")
            processors[name] = cast(Processor, PROCESSORS[kinds[name]].load(path / file))
            own.add(file)
        if unknown := files - own:
            raise InputError(f"{path / min(unknown)}: {MARKER} lists it: no file of an export")
        return cls(path=path, processors=processors, files=frozenset(files), **config)

    def session(self, name: str, threads: int) -> Run:
        """Return a graph as a function of its inputs, which returns its outputs by their names.

        Raises InputError when ONNX Runtime is missing, or cannot load the graph.
        """
        try:
            import onnxruntime
        except ImportError:
            cure = 'pip install "sequence-zoo[runtime]", or onnxruntime alone'
            raise InputError(f"a runtime needs onnxruntime: {cure}") from None
        if name not in self.files:
            raise InputError(f"{self.path / MARKER}: does not list {name}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            loaded = onnxruntime.InferenceSession(
                str(self.path / name), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # it has classes of its own, which are no part of its interface
            line = " ".join(str(error).split())[:300]
            raise InputError(f"{self.path / name}: ONNX Runtime cannot load it: {line}") from None
        names = [output.name for output in loaded.get_outputs()]

        def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            return dict(zip(names, loaded.run(names, dict(inputs)), strict=True))

        return run

    def array(self, name: str) -> np.ndarray:
        """Return an array beside the graphs. Raises InputError."""
        if name not in self.files:
            raise InputError(f"{self.path / MARKER}: does not list {name}")
        try:
            return np.load(self.path / name, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path / name}: no array: {error}") from None


def processor_files(place: Path, kinds: Any) -> dict[str, str]:
    """Return the file of each processor, given the kinds: {name: kind}. Raises InputError."""
    if not isinstance(kinds, Mapping):
        raise InputError(f"{place}: processors is no object of names and kinds")
    files = {}
    for name, kind in kinds.items():
        if not isinstance(kind, str) or kind not in PROCESSORS:
            known = ", ".join(PROCESSORS)
            raise InputError(f"{place}: processors.{name}: {kind!r} is unknown; there are: {known}")
        if not name.isidentifier():
            raise InputError(f"{place}: processors.{name}: no processor can have this name")
        files[name] = f"{name}{PROCESSORS[kind].suffix}"
    return files


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verified(folder: Path) -> set[str]:
    """Check the hash of each file of a folder, and return the files. Raises InputError."""
    path = folder / MARKER
    if not path.is_file():
        what = "no folder" if not folder.is_dir() else f"no {MARKER}"
        cure = f"python -m zoo.export MODEL {folder} writes one"
        raise InputError(f"{folder}: {what}, so no exported model: {cure}")
    listed = _object(path, {"program", "runtime", "files"})
    if listed["program"] != PROGRAM or listed["runtime"] != FORMAT:
        raise InputError(f"{path}: format {listed['runtime']!r}, not {FORMAT}: export it again")
    files = listed["files"]
    if not isinstance(files, dict) or CONFIG not in files:
        raise InputError(f"{path}: does not list the files of an export")
    for name, digest in files.items():
        file = folder / name
        if Path(name).name != name or name == MARKER:
            raise InputError(f"{path}: lists {name!r}: no file of this folder")
        if file.is_symlink() and file.resolve().parent != folder.resolve():
            raise InputError(f"{file}: a link out of the folder: put the file itself in its place")
        if not file.is_file():
            raise InputError(f"{file}: missing")
        if sha256(file) != digest:
            raise InputError(f"{file}: its contents are not those that were saved (sha256 differs)")
    for file in sorted(folder.glob("*.onnx")):
        if file.name not in files:
            raise InputError(f"{file}: {MARKER} does not list it: take it out of the folder")
    return {*files}


def _object(path: Path, keys: set[str]) -> dict[str, Any]:
    """Return a JSON object with exactly these keys. Raises InputError."""
    if path.stat().st_size > LARGEST:
        raise InputError(f"{path}: {path.stat().st_size:,} bytes are more than {LARGEST:,}")
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: not an object")
    if wrong := {*value} ^ keys:
        raise InputError(f"{path}: unknown or missing key {min(wrong)!r}")
    return value

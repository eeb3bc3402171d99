"""This module names the distributions that the GPU programme imports, and those often missing."""

from __future__ import annotations

import sys
from importlib.metadata import packages_distributions

from zoo.device import installed

USUAL = (  # an image with torch 2.11 and the field's common packages has these
    "accelerate",
    "certifi",
    "charset-normalizer",
    "cloudpickle",
    "colorama",
    "contourpy",
    "cycler",
    "filelock",
    "fonttools",
    "fsspec",
    "hf-xet",
    "huggingface-hub",
    "hypothesis",
    "idna",
    "iniconfig",
    "jinja2",
    "joblib",
    "kiwisolver",
    "lxml",
    "markdown-it-py",
    "markupsafe",
    "matplotlib",
    "mdurl",
    "mpmath",
    "narwhals",
    "networkx",
    "numpy",
    "packaging",
    "pandas",
    "pillow",
    "pluggy",
    "portalocker",
    "psutil",
    "pygments",
    "pyparsing",
    "pytest",
    "python-dateutil",
    "pyyaml",
    "regex",
    "requests",
    "rich",
    "sacrebleu",
    "safetensors",
    "scikit-learn",
    "scipy",
    "setuptools",
    "six",
    "sortedcontainers",
    "sympy",
    "tabulate",
    "threadpoolctl",
    "torch",
    "tqdm",
    "triton",
    "typing-extensions",
    "urllib3",
)
CARRIED = (  # it lacks these, or has an older sentencepiece
    "annotated-types",
    "babel",
    "hydra-core",
    "omegaconf",
    "pydantic",
    "pydantic-core",
    "sentencepiece",
    "torchtext",
    "typing-inspection",
)
BUILT = "antlr4-python3-runtime", "seqeval"  # it lacks these too; they come without wheels
LEAST = {"sentencepiece": (0, 2, 3)}  # versions that pyproject.toml asks for


def missing() -> list[str]:
    """Return the distributions that this machine lacks, or has in too old a version."""
    found = {name: installed(name) for name in (*USUAL, *CARRIED, *BUILT)}
    lacking = {name for name, version in found.items() if version == "unknown"}
    old = {name for name, least in LEAST.items() if _numbers(found[name]) < least}
    return sorted(lacking | old)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())


def imported() -> list[str]:
    """Return the distributions whose modules this process has imported."""
    owners = packages_distributions()
    modules = {name.partition(".")[0] for name in sys.modules}
    names = {owner for module in modules for owner in owners.get(module, ())}
    return sorted({name.lower().replace("_", "-") for name in names})


def epilog() -> str:
    """Return what `--help` says about packages. This machine's versions stand in it."""
    return "\n".join(
        [
            "A GPU image with torch 2.11 usually lacks these packages; carry their wheels:",
            f"  pip download --no-deps --only-binary=:all: -d WHEELS {_pinned(CARRIED)}",
            f"  pip wheel --no-deps -w WHEELS {_pinned(BUILT)}",
            "  pip install --no-index --no-deps --target SITE WHEELS/*.whl; export PYTHONPATH=SITE",
            f"Missing on this machine: {' '.join(missing()) or 'nothing'}",
        ]
    )


def _pinned(names: tuple[str, ...]) -> str:
    found = {name: installed(name) for name in names}
    return " ".join(n if v == "unknown" else f"{n}=={v}" for n, v in found.items())

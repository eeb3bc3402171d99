"""What is installed: a wheel with the configs in it, which runs from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile

import pytest
import yaml
from conftest import DATA, ROOT, SMALL

import zoo


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
        timeout=120,
    )
    return next(folder.glob("sequence_zoo-*.whl"))


def test_the_wheel_holds_zoo_tasks_and_configs_and_no_more(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {
        "zoo/configs/config.yaml",
        "zoo/configs/recipe/classify/imdb.yaml",
        "zoo/py.typed",
        "zoo/messages/ja/LC_MESSAGES/zoo.mo",
        "zoo/serving/page/index.html",
        "zoo/serving/page/page.js",
        "zoo/run.py",
        "tasks/classify.py",
    } <= set(names)
    tops = {name.split("/")[0] for name in names}
    assert tops == {"zoo", "tasks", *(t for t in tops if t.startswith("sequence_zoo-"))}
    assert not [name for name in names if name.startswith(("configs/", "tests/"))]


def test_the_installed_package_runs_from_another_folder(wheel, tmp_path):
    """Beside a file called tasks.py, which must not be mistaken for ours."""
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (tmp_path / "tasks.py").write_text("raise SystemExit('the wrong tasks')\n")
    words = ["data=files", f"data.train={DATA / 'classify.jsonl'}", *SMALL]
    done = subprocess.run(
        [sys.executable, "-m", "zoo.run", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(site), "PYTHONSAFEPATH": ""},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "classify-files" / "manifest.json").is_file()


def test_version_and_pythons_are_the_same_wherever_they_stand():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert {zoo.__version__, project["version"], citation["version"]} == {zoo.__version__}
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
    pythons = workflow["jobs"]["checks"]["strategy"]["matrix"]["python"]
    kinds = [text.rpartition(" :: ")[2] for text in project["classifiers"]]
    assert [text for text in kinds if text.startswith("3.")] == pythons

"""What the environment of a saved model gets, and what it does not need."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybridmodel import HybridOnnxModel, save_model
from hybridmodel.flavor import get_default_pip_requirements, requirements
from tests.support import models
from tests.support.mlflow_tools import REPOSITORY, python
from tests.support.paths import ROOT

pytestmark = pytest.mark.usefixtures("empty_folder")

LOAD_AND_PREDICT = """
import sys, warnings
warnings.simplefilter("ignore")
import mlflow, numpy, pandas
X = pandas.DataFrame(numpy.ones((2, 4)), columns=list("abcd"))
for uri in sys.argv[1:]:
    print(mlflow.pyfunc.load_model(uri).predict(X).shape)
"""


def requirements_of(folder: Path) -> list[str]:
    """Read the requirements of a saved model."""
    return (folder / "requirements.txt").read_text().splitlines()


def test_default_requirements() -> None:
    """An environment gets what hybridmodel needs, each with the version of this one."""
    names = {line.partition("==")[0] for line in get_default_pip_requirements()}
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    # Commands, servers, plots and reports: no model needs them to answer.
    needless = {"click", "h11", "jinja2", "matplotlib", "pyarrow", "scipy", "starlette"}
    needless |= {"tqdm", "uvicorn"}
    assert names - {"hybridmodel"} == {re.split(r"[<>=]", line)[0] for line in declared} - needless
    assert ("hybridmodel" in names) is requirements.is_release()
    assert f"numpy=={np.__version__}" in get_default_pip_requirements()


@pytest.mark.parametrize(
    ("options", "present", "absent"),
    [
        ({}, ["onnxruntime=="], ["hybridmodel"]),
        ({"extra_pip_requirements": ["scipy==1"]}, ["mlflow==", "scipy==1"], ["hybridmodel"]),
        ({"pip_requirements": ["mlflow", "mine==2"]}, ["mine==2"], ["hybridmodel", "onnxruntime"]),
        ({"code_paths": [str(REPOSITORY / "hybridmodel")]}, ["mlflow=="], ["hybridmodel"]),
    ],
)
def test_requirements(
    options: Any, present: list[str], absent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requirements can be replaced or added to; what is no release is not asked of an index."""
    monkeypatch.setattr(requirements, "is_release", lambda: False)
    save_model(HybridOnnxModel(models.linear()), "saved", **options)
    lines = requirements_of(Path("saved"))
    for start in present:
        assert any(line.startswith(start) for line in lines), lines
    for start in absent:
        assert not any(line.startswith(start) for line in lines), lines


def test_extra_requirements_from_a_file() -> None:
    """As everywhere in MLflow, a text is the path of a file of requirements."""
    Path("more.txt").write_text("scipy==1.0\n# a comment\n-c limits.txt\n")
    Path("limits.txt").write_text("scipy<2\n")
    save_model(HybridOnnxModel(models.linear()), "saved", extra_pip_requirements="more.txt")
    assert "scipy==1.0" in requirements_of(Path("saved"))
    assert Path("saved/constraints.txt").read_text() == "scipy<2"


def test_contradicting_environments_are_refused() -> None:
    """MLflow takes only one of the ways to describe an environment."""
    with pytest.raises(ValueError, match="Only one of"):
        save_model(
            HybridOnnxModel(models.linear()),
            "saved",
            conda_env={"name": "x"},
            pip_requirements=["x"],
        )


@pytest.mark.parametrize(
    ("version", "direct_url", "is_release"),
    [
        ("7.8.9", None, True),
        ("7.8.9", '{"url": "file:///somewhere", "dir_info": {}}', False),
        ("0.1.dev3+g123", None, False),
        ("0.1.dev3", None, False),
    ],
)
def test_only_a_release_is_required(
    version: str,
    direct_url: str | None,
    is_release: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No index is asked for what came from a checkout, where anyone may register its name."""
    info = tmp_path / "site" / f"hybridmodel-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: hybridmodel\nVersion: {version}")
    if direct_url:
        (info / "direct_url.json").write_text(direct_url)
    monkeypatch.syspath_prepend(tmp_path / "site")
    with caplog.at_level(logging.WARNING, "hybridmodel"):
        found = [line for line in get_default_pip_requirements() if "hybridmodel" in line]
    assert found == ([f"hybridmodel=={version}"] if is_release else [])
    assert ("code_paths" in caplog.text) is not is_release


def test_the_runtime_may_come_from_another_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where onnxruntime was installed as onnxruntime-gpu, that is what is required.

    The same interpreter finds hybridmodel by its path only, and does not know its version.
    """
    code = """
import importlib.metadata as metadata, pathlib, sys
sys.path[:] = [path for path in sys.path if "site-packages" not in path]
sys.path.insert(0, sys.argv[1])
from hybridmodel.flavor.requirements import is_release, package_version, pinned
print(pinned("onnxruntime"), package_version(), is_release())
"""
    site = tmp_path / "site"
    info = site / "onnxruntime_gpu-1.2.3.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1.2.3")
    (info / "top_level.txt").write_text("onnxruntime\n")
    numpy_folder = Path(np.__file__).parent
    (site / "numpy").symlink_to(numpy_folder)
    assert python(code, tmp_path, str(site)) == "onnxruntime-gpu==1.2.3 0+unknown False"


def test_a_process_without_hybridmodel_says_so(saved: Path, tmp_path: Path) -> None:
    """Without the package the error names it, rather than answering in another way."""
    code = LOAD_AND_PREDICT.replace(
        "import mlflow",
        "sys.path.remove(sys.argv.pop(1)); sys.meta_path[:] = ["
        "f for f in sys.meta_path if 'editable' not in repr(f).lower()]; "
        "sys.modules['hybridmodel'] = None; import mlflow",
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(REPOSITORY), str(saved)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr
    assert "hybridmodel" in done.stderr.strip().splitlines()[-1]


def test_bundled_code_makes_a_model_self_contained(tmp_path: Path) -> None:
    """With code_paths the model runs where hybridmodel is not installed, also two of them."""
    package = tmp_path / "src" / "hybridmodel"
    shutil.copytree(
        REPOSITORY / "hybridmodel", package, ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("one", "two"):
        save_model(HybridOnnxModel(models.linear()), name, code_paths=[str(package)])
    shutil.rmtree(package)
    without = "import sys; sys.path[:] = [p for p in sys.path if p not in sys.argv[1]]; "
    code = without + (
        "sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]; "
        "del sys.argv[1]\n" + LOAD_AND_PREDICT + "import hybridmodel; print(hybridmodel.__file__)"
    )
    *shapes, where = python(code, tmp_path, str(REPOSITORY), "one", "two").splitlines()
    assert shapes == ["(2, 2)", "(2, 2)"]
    assert Path(where) == tmp_path / "one/code/hybridmodel/__init__.py"

"""Virtual environments in the user's cache folder."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import zipfile
from pathlib import Path

import pytest
from tqdm.auto import tqdm

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.serving import environments
from hybridmodel.serving.environments import CACHE_VARIABLE, environment

posix_only = pytest.mark.skipif(os.name != "posix", reason="environments are made on POSIX only")


def wheel(folder: Path) -> str:
    """Make a small package that pip can install without a network."""
    path = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("tiny.py", "answer = 42\n")
        file.writestr(
            "tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"
        )
        file.writestr(
            "tiny-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        file.writestr("tiny-1.0.dist-info/RECORD", "tiny.py,,\n")
    return str(path)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give hybridmodel an empty cache folder."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@posix_only
def test_environment_is_made_once(
    cache: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two that want it at the same time get the same one, made once; a half made one is redone."""
    requirements, found, made = [wheel(tmp_path)], [], []
    make = environments._make
    monkeypatch.setattr(environments, "_make", lambda *given: made.append(make(*given)))
    threads = [
        threading.Thread(target=lambda: found.append(environment("tiny", requirements)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    folder = found[0]
    assert found == [folder, folder]
    assert len(made) == 1
    assert folder.is_relative_to(cache)
    shown = capfd.readouterr().err
    assert "Preparing tiny" in shown
    python = [str(folder / "bin" / "python"), "-c", "import tiny; print(tiny.answer)"]
    assert subprocess.run(python, capture_output=True, text=True, check=True).stdout == "42\n"

    environment("tiny", requirements)
    assert capfd.readouterr().err == ""

    (folder / environments._MARKER).unlink()
    (folder / "half").touch()
    assert environment("tiny", requirements) == folder
    assert not (folder / "half").exists()


@posix_only
def test_interrupted_environment_is_not_used(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends what makes an environment, and the next call makes it from the beginning."""
    with monkeypatch.context() as patched:
        patched.setattr(tqdm, "update", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            environment("tiny", [wheel(tmp_path)])
    assert not list(cache.rglob(environments._MARKER))
    folder = environment("tiny", [wheel(tmp_path)])
    assert (folder / environments._MARKER).exists()


@posix_only
def test_environment_that_cannot_be_made(cache: Path, tmp_path: Path) -> None:
    """What pip says is in the error, and nothing counts as made."""
    missing = str(tmp_path / "missing-1.0-py3-none-any.whl")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="missing-1"):
            environment("broken", [missing])


def test_cache_folder_follows_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The variable of hybridmodel comes first, then that of the desktop, then the home folder."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert environments.cache_folder() == tmp_path
    monkeypatch.delenv(CACHE_VARIABLE)
    assert environments.cache_folder() == tmp_path / "xdg" / "hybridmodel"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert environments.cache_folder() == Path.home() / ".cache" / "hybridmodel"

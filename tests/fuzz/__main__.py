"""Fuzz what reads the bytes of a server, guided by coverage.

    python -m venv .venv-fuzz && .venv-fuzz/bin/python -m pip install atheris numpy
    .venv-fuzz/bin/python -m tests.fuzz [TARGET ...] [--seconds 60] [--corpus FOLDER]

Needs atheris (Linux, CPython) and numpy, and nothing else of the project's dependencies. Each
target runs so long in a process of its own; what breaks a law is printed, and the status is 1.
With a folder, what was found to be of interest is kept there, and started from the next time.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

from tests.fuzz.seeds import SEEDS, WORDS


def main() -> int:
    """Run the targets one after the other, and return the exit status."""
    options = _options()
    if options.inside:
        _fuzz(options.targets[0], options.inside)
    failed = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.targets or SEEDS:
            folder = (options.corpus or Path(scratch)) / name
            _say(f"\n{name}, {options.seconds} s")
            if _run(name, folder, options.seconds):
                failed.append(name)
                for crash in folder.glob("crash-*"):
                    _say(f"broken by {crash.read_bytes()!r}")
    _say(f"\nbroken: {', '.join(failed)}" if failed else "\nno law was broken")
    return 1 if failed else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _run(name: str, folder: Path, seconds: int) -> int:
    """Fuzz one target in a process of its own, and return its exit status."""
    corpus, words = folder / "corpus", folder / "words"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in WORDS)
    words.write_text("".join(f'"{word}"\n' for word in escaped))
    flags = [
        str(corpus),
        f"-dict={words}",
        f"-max_total_time={seconds}",
        f"-artifact_prefix={folder}/",
        "-max_len=1000",
        "-timeout=10",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz", name, "--inside", *flags], check=False
    ).returncode


def _fuzz(name: str, flags: list[str]) -> None:
    """Hand over to atheris, which ends the process."""
    import atheris

    # Once for all: each start leaves something behind, which looks like a leak of the readers.
    tracemalloc.start()
    with atheris.instrument_imports(include=["hybridmodel"]):
        from tests.fuzz.targets import TARGETS
    from tests.fuzz.mutator import mutate

    def changed(data: bytes, most: int, seed: int) -> bytes:
        choose = random.Random(seed)
        if choose.random() < 0.5:
            return mutate(data, choose)[:most]
        found: bytes = atheris.Mutate(data, most)
        return found

    options = {} if name == "http" else {"custom_mutator": changed}
    atheris.Setup([sys.argv[0], *flags], TARGETS[name], **options)
    atheris.Fuzz()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(SEEDS)}")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--corpus", type=Path, metavar="FOLDER", help="start from and add to it")
    parser.add_argument("--inside", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = [name for name in options.targets if name not in SEEDS]
    if unknown:
        parser.error(f"there is no target {unknown[0]!r}, only {', '.join(SEEDS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())

"""What the export of a large model costs beside a copy of its files: time, memory, disk.

    python benchmarks/export.py [--quick] [--plot FILE.png] [--json FILE] [--folder FOLDER]

A saved model of 1 GB, in one file and with external data, becomes a Triton repository. Contestants
take turns in one run, each in a process of its own that has exported a tiny model before, so that
nothing is imported while the clock runs:

========  ==================================================================================
copy      ``shutil.copytree`` of the model's files: what an export must not be slower than
linked    `hybridmodel.deploy.export`, with a reflink or hard link
verified  the same with ``verify=True``, which compares the hash with the saved one
copied    the same as linked with ``linked=False``
plain     the same as linked for the ONNX file itself, which is copied where there are no reflinks
edited    the same where an output is declared anew, so that a new file is written
========  ==================================================================================

Memory is what the process' peak grows by while the clock runs (Linux). All files are in the page
cache.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from _measure import Aim, report
from _results import Ratio, Results

FILES = Path("data", "hybrid_onnx")
KINDS = {"one file": False, "external data": True}
CONTESTANTS = ("copy", "linked", "verified", "copied", "edited", "plain")
MOST_GROWTH_BYTES = 16 << 20
COLUMNS = 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print tables and aims, and return the exit status."""
    given = _options(arguments)
    size = (300 if given.quick else 1000) * 1_000_000
    results = Results("export", "Export of a large model beside a copy", ("onnxruntime", "mlflow"))
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        tiny = save(folder / "tiny", 4096, external=False, wrong=False)
        for kind, external in KINDS.items():
            models = {
                wrong: save(folder / f"{kind} {wrong}", size, external=external, wrong=wrong)
                for wrong in (False, True)
            }
            found[kind] = {contestant: [] for contestant in CONTESTANTS}
            for _ in range(1 if given.quick else 3):
                for contestant in CONTESTANTS:
                    model = models[contestant == "edited"]
                    found[kind][contestant].append(turn(contestant, tiny, model, folder / "out"))
            for model in models.values():
                shutil.rmtree(model)
    aims = conclude(results, found, size)
    if given.plot:
        plot(found, given.plot)
    if given.json:
        results.write(given.json, aims, found, [given.plot])
    return report(aims)


def save(folder: Path, size: int, *, external: bool, wrong: bool) -> Path:
    """Save a model of so many bytes; where it is wrong, its graph declares another output.

    Its weights are written to the disk only: in memory they would take several times their size.
    """
    from onnx import TensorProto, helper

    from hybridmodel.local.protobuf import head

    files, rows = folder / FILES, size // 4 // COLUMNS
    files.mkdir(parents=True)
    bytes_ = rows * COLUMNS * 4
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "W"], ["y"], transB=1)],
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("N", COLUMNS))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1,) if wrong else ("N", rows))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    weights = TensorProto(dims=(rows, COLUMNS), data_type=TensorProto.FLOAT, name="W")
    with (files / ("weights.bin" if external else "model.onnx")).open("wb") as file:
        if external:
            weights.data_location = TensorProto.EXTERNAL
            weights.external_data.add(key="location", value="weights.bin")
            model.graph.initializer.append(weights)
            (files / "model.onnx").write_bytes(model.SerializeToString())
        else:
            front = weights.SerializeToString() + head(9, bytes_)  # TensorProto.raw_data
            inner = graph.SerializeToString() + head(5, len(front) + bytes_) + front
            model.ClearField("graph")
            file.write(model.SerializeToString() + head(7, len(inner) + bytes_) + inner)
        block = os.urandom(1 << 20)
        for start in range(0, bytes_, len(block)):
            file.write(block[: bytes_ - start])
    describe(files, rows)
    return folder


def describe(files: Path, rows: int) -> None:
    """Write the hybrid.json of a saved model, from its files."""
    from hybridmodel import HybridOnnxModel, ModelSpec, TensorSpec
    from hybridmodel.flavor.record import HybridRecord
    from hybridmodel.local.onnx_file import OnnxFile
    from hybridmodel.local.session import LocalSession

    x, y = TensorSpec("x", "FP32", (-1, COLUMNS), True), TensorSpec("y", "FP32", (-1, rows), True)
    spec = ModelSpec((x,), (y,))
    onnx = OnnxFile.read(files / "model.onnx")
    model = HybridOnnxModel(LocalSession(onnx, spec=spec))
    (files / "hybrid.json").write_text(json.dumps(HybridRecord.of(model, None).to_dict()))


def turn(contestant: str, tiny: Path, model: Path, out: Path) -> dict[str, float]:
    """Let a contestant work in a process of its own; return seconds, bytes of memory and disk."""
    program = [sys.executable, __file__, "--child", contestant, str(tiny), str(model), str(out)]
    before = shutil.disk_usage(out.parent).free
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    used = max(0, before - shutil.disk_usage(out.parent).free)
    shutil.rmtree(out)
    return {**json.loads(done.stdout), "disk_bytes": used}


def child(contestant: str, tiny: Path, model: Path, out: Path) -> int:
    """Work as a contestant, and print what it took."""
    if contestant == "plain":
        model = model / FILES / "model.onnx"
    how = {
        "linked": contestant in ("linked", "verified", "plain"),
        "verify": contestant == "verified",
    }
    work: Any = _copy if contestant == "copy" else partial(_export, **how)
    _warm(tiny, out) if contestant != "copy" else work(tiny, out)
    shutil.rmtree(out)
    Path("/proc/self/clear_refs").write_text("5")  # The peak begins anew.
    before, started = _peak_bytes(), time.perf_counter()
    work(model, out)
    elapsed = time.perf_counter() - started
    print(json.dumps({"elapsed_s": elapsed, "grown_bytes": _peak_bytes() - before}))
    return 0


def _warm(tiny: Path, out: Path) -> None:
    """Import everything that an export takes, onnxruntime's library too."""
    import onnxruntime

    assert onnxruntime.get_available_providers()
    _export(tiny, out)


def _copy(model: Path, out: Path) -> None:
    shutil.copytree(model / FILES, out)


def _export(model: Path, out: Path, **how: bool) -> None:
    from hybridmodel.deploy import export

    export(model, out, **how)


def _peak_bytes() -> int:
    (line,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(line) * 1024


def conclude(results: Results, found: Any, size: int) -> list[Aim]:
    """Show the tables, and hold them against the aims."""
    aims = []
    for kind, turns in found.items():
        copies = turns["copy"]
        head = ["contestant", "s", "of copy", "memory grows by MB", "disk MB"]
        rows = []
        for name, made in turns.items():
            pairs = zip(made, copies, strict=True)
            ratio = median(mine["elapsed_s"] / theirs["elapsed_s"] for mine, theirs in pairs)
            rows.append(
                [
                    name,
                    f"{median(item['elapsed_s'] for item in made):.2f}",
                    f"{ratio:.2f}",
                    f"{max(item['grown_bytes'] for item in made) / 1e6:.1f}",
                    f"{median(item['disk_bytes'] for item in made) / 1e6:,.0f}",
                ]
            )
            if name == "linked":
                text = f"export of a saved model, {kind}: no slower than a copy"
                aims.append(Aim(text, f"{ratio:.2f} of its time", ratio <= 1.0))
                results.ratios.append(Ratio(f"export, {kind}", "shutil.copytree", ratio))
        results.show(f"A saved model of {size / 1e9:g} GB, {kind}", head, rows)
        grown = max(item["grown_bytes"] for name in turns for item in turns[name] if name != "copy")
        text = f"export, {kind}: memory grows by at most {MOST_GROWTH_BYTES >> 20} MiB"
        aims.append(Aim(text, f"{grown / 2**20:.1f} MiB", grown <= MOST_GROWTH_BYTES))
    return aims


def plot(found: Any, path: Path) -> None:
    """Draw the seconds of each contestant."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(found), figsize=(9, 2.6), constrained_layout=True)
    for panel, (kind, turns) in zip(panels, found.items(), strict=True):
        seconds = [median(item["elapsed_s"] for item in made) for made in turns.values()]
        panel.barh(list(turns), seconds, color=["#5b6c8f", *["#0b6e4f"] * (len(turns) - 1)])
        panel.set_title(kind, fontsize=9)
        panel.set_xlabel("seconds")
        panel.invert_yaxis()
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def _options(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="300 MB, one turn")
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default is TMPDIR")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything found")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        sys.exit(child(sys.argv[2], *map(Path, sys.argv[3:])))
    sys.exit(main())

"""Files of rows and models for ``batch.py``, made once in a folder."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from _models import FEATURES, NAMES

CLASSES = 3
_PIECE = 250_000


def rows_file(folder: Path, rows: int, *, one_group: bool) -> Path:
    """Write so many rows of float32 and an id to zstd Parquet: many row groups, or one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / f"rows-{rows}-{'one' if one_group else 'many'}.parquet"
    if path.exists():
        return path
    schema = pa.schema([("id", pa.int64()), *((name, pa.float32()) for name in NAMES)])
    tables = (_table(start, min(_PIECE, rows - start)) for start in range(0, rows, _PIECE))
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False) as writer:
        if one_group:
            # One call makes one row group, where there is room for all of it.
            writer.write_table(pa.concat_tables(tables), row_group_size=rows)
        else:
            for table in tables:
                writer.write_table(table, row_group_size=131_072)
    return path


def _table(start: int, rows: int):
    import pyarrow as pa

    values = np.random.default_rng(start).normal(size=(FEATURES, rows)).astype(np.float32)
    columns = {"id": np.arange(start, start + rows), **dict(zip(NAMES, values, strict=True))}
    return pa.table(columns)


def classifier(sizes: tuple[int, ...], seed: int = 0) -> bytes:
    """Make ``y`` [N, 3], probabilities, of ``x`` [N, 30]: a perceptron with these hidden layers."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(seed)
    nodes, constants, tensor = [], [], "x"
    widths = [FEATURES, *sizes, CLASSES]
    for layer, (before, after) in enumerate(pairwise(widths)):
        weights = random.normal(0, before**-0.5, (before, after)).astype(np.float32)
        constants.append(numpy_helper.from_array(weights, f"w{layer}"))
        constants.append(numpy_helper.from_array(np.zeros(after, np.float32), f"b{layer}"))
        gemm = [tensor, f"w{layer}", f"b{layer}"]
        nodes.append(helper.make_node("Gemm", gemm, [f"dense{layer}"]))
        tensor = f"dense{layer}"
        if layer < len(sizes):
            nodes.append(helper.make_node("Relu", [tensor], [f"relu{layer}"]))
            tensor = f"relu{layer}"
    nodes.append(helper.make_node("Softmax", [tensor], ["y"], axis=1))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])
        for name, size in (("x", FEATURES), ("y", CLASSES))
    ]
    graph = helper.make_graph(nodes, "classifier", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())

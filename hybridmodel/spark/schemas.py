"""The types of predictions in Spark: signed integers, floats, text and lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hybridmodel.exceptions import ConfigurationError

if TYPE_CHECKING:
    import pyarrow as pa


def as_spark_holds(kind: Any) -> Any:
    """Return the Arrow type that Spark supports and that holds all values of `kind`."""
    import pyarrow as pa

    wider = {
        pa.uint8(): pa.int16(),
        pa.uint16(): pa.int32(),
        pa.uint32(): pa.int64(),
        pa.uint64(): pa.decimal128(20),
        pa.float16(): pa.float32(),
    }
    if pa.types.is_nested(kind):
        return pa.list_(as_spark_holds(kind.value_type))
    if pa.types.is_large_string(kind):
        return pa.string()
    return wider.get(kind, kind)


def spark_type(kind: Any) -> Any:
    """Return Spark's type for an Arrow type that `as_spark_holds` returned.

    Raises `ConfigurationError` if there is none.
    """
    import pyarrow as pa
    from pyspark.sql import types

    made = {
        pa.bool_(): types.BooleanType(),
        pa.int8(): types.ByteType(),
        pa.int16(): types.ShortType(),
        pa.int32(): types.IntegerType(),
        pa.int64(): types.LongType(),
        pa.decimal128(20): types.DecimalType(20, 0),
        pa.float32(): types.FloatType(),
        pa.float64(): types.DoubleType(),
        pa.string(): types.StringType(),
        pa.binary(): types.BinaryType(),
    }
    if pa.types.is_nested(kind):
        return types.ArrayType(spark_type(kind.value_type))
    if kind not in made:
        raise ConfigurationError(f"Spark has no type for a column of Arrow's {kind}")
    return made[kind]


def fitted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch whose columns have the types of a schema; raises where values do not fit."""
    import pyarrow as pa

    arrays = [batch.column(field.name).cast(field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)

"""Score a folder of Parquet on Spark: the small model there, the endpoint for what it asks for.

    python examples/spark_batch.py models:/digits@champion rows/ scored/ --keep id
    spark-submit examples/spark_batch.py models:/digits@champion abfss://... abfss://... \
        --mode azure --max-in-flight 200 --allow HYBRIDMODEL_KEY_host@host

Needs the extra ``spark`` on the driver, the package on every executor, and Java.
"""

from __future__ import annotations

import argparse

from pyspark.sql import SparkSession

from hybridmodel.spark import udf


def main() -> None:
    """Read, score, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model_uri")
    parser.add_argument("input", help="folder of Parquet")
    parser.add_argument("output", help="folder to be written; must not be there")
    parser.add_argument("--keep", action="append", help="column before the predictions; repeatable")
    parser.add_argument("--mode", help="local, azure, cascade ...; default is the model's own")
    parser.add_argument("--max-in-flight", type=int, help="requests at a time of the whole job")
    parser.add_argument("--allow", action="append", help="what the model may send where")
    given = parser.parse_args()

    spark = SparkSession.builder.appName("hybridmodel").getOrCreate()
    score = udf(
        spark,
        given.model_uri,
        keep=given.keep,
        mode=given.mode,
        max_in_flight=given.max_in_flight,
        allow=given.allow,
        route=True,
    )
    scored = score(spark.read.parquet(given.input))
    scored.write.parquet(given.output)

    # From what was written: counting `scored` would score everything again.
    spark.read.parquet(given.output).groupBy("route").count().show()
    spark.stop()


if __name__ == "__main__":
    main()

"""Spark, for what outgrows one machine: `udf` makes a function from DataFrames to DataFrames.

Beside ``mlflow.pyfunc.spark_udf``, it keeps one session and one pool of connections in each Python
worker, carries grants to the workers, and limits the requests in flight of the whole job.
"""

from hybridmodel.spark.scorer import Scorer, udf

__all__ = ["Scorer", "udf"]

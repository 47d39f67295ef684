"""Batch endpoints of Azure Machine Learning: jobs over files, submitted exactly once.

`BatchEndpoint` says where one is, `BatchClient` submits jobs to it and finds them again, `Job` is
waited for and has the results. From the bottom: `addresses` and `bodies` (values and bytes, no
I/O), `endpoint`, `outcomes` (what a failed submission says), `asking` (what the endpoint knows of
jobs), `submitting` (one job for each submission), `storage` (files of results), `job`, `client`.
"""

from hybridmodel.remote.batch_endpoint.client import BatchClient
from hybridmodel.remote.batch_endpoint.endpoint import BatchEndpoint
from hybridmodel.remote.batch_endpoint.job import Job
from hybridmodel.remote.batch_endpoint.state import JobStatus
from hybridmodel.remote.batch_endpoint.storage import Results

__all__ = ["BatchClient", "BatchEndpoint", "Job", "JobStatus", "Results"]

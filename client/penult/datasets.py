"""Datasets of a server: ``client.datasets``."""

import builtins
from pathlib import Path
from typing import Literal, overload

from penult import decode, jobs
from penult.records import Dataset
from penult.rpc import Connection
from penult_proto.v1 import datasets_pb2, jobs_pb2


class Datasets:
    """The datasets that can be finetuned on."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self, *, timeout: float = 30.0) -> builtins.list[Dataset]:
        """Packaged and registered datasets."""
        request = datasets_pb2.ListDatasetsRequest()
        answer = self._connection.unary(self._connection.stubs.datasets.ListDatasets, request, timeout=timeout)
        return [decode.dataset(message) for message in answer.datasets]

    def get(self, name: str, *, timeout: float = 30.0) -> Dataset:
        """The dataset of that name. Raises `NotFound`, listing those that exist."""
        request = datasets_pb2.GetDatasetRequest(name=name)
        return decode.dataset(
            self._connection.unary(self._connection.stubs.datasets.GetDataset, request, timeout=timeout)
        )

    @overload
    def register(
        self,
        name: str,
        table: str | Path,
        description: str = "",
        *,
        wait: Literal[True] = True,
        timeout: float = 30.0,
    ) -> Dataset: ...

    @overload
    def register(
        self, name: str, table: str | Path, description: str = "", *, wait: Literal[False], timeout: float = 30.0
    ) -> jobs.Job[Dataset]: ...

    def register(
        self,
        name: str,
        table: str | Path,
        description: str = "",
        *,
        wait: bool = True,
        timeout: float = 30.0,
    ) -> Dataset | jobs.Job[Dataset]:
        """Make your own images or texts known under a name.

        Parameters
        ----------
        name : small letters, digits, dot, underscore, hyphen.
        table : CSV file *on the server's machine* with the columns `split`, `y`, `path` (relative to the file)
            or `text`, optionally `id`; every further column is an attribute. A path that is not absolute is
            taken from this process's directory, which makes sense on the same machine only.
        description : where the data come from and under which licence.
        wait : False returns the job, which reads every file once, instead of waiting for it.
        timeout : seconds for starting the job; reading the files may take any time.

        Raises
        ------
        InvalidRequest : the table is not as described, or an image cannot be read.
        Conflict : a packaged dataset has that name.
        PreconditionFailed : files are missing.
        """
        spec = jobs_pb2.RegisterDatasetSpec(
            name=name, table=str(Path(table).expanduser().absolute()), description=description
        )
        job = jobs.create(
            self._connection, jobs_pb2.JobSpec(register_dataset=spec), jobs.dataset_result, timeout=timeout
        )
        return job.wait() if wait else job

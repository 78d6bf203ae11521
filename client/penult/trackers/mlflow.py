"""Runs of an MLflow tracking server, by its REST API."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

from penult.errors import PenultError, Unavailable, invalid, shown
from penult.results.records import Run, RunManifest
from penult.trackers.scalars import scalars
from penult_proto.errors import ErrorKind

EXPERIMENT = "penult"
TAG = "penult.run_id"
"""The tag of an MLflow run by which it is found again."""
BATCH = 1000
"""Metrics of one request to MLflow, its own limit; and parameters, of which it takes 100."""
PARAMETERS = 100
LONGEST_VALUE = 500
TIMEOUT = 30.0
"""Seconds for each request to an MLflow server."""


def to_mlflow(run: Run, manifest: RunManifest, address: str) -> str:
    """Write a run to an MLflow server over its REST API; returns MLflow's id of it.

    A run that is there, and has ended, stays as it is; one whose export was cut off is written again. Numbers have the
    step of training that they were measured at, parameters are the flattened recipe, tags the digests.

    Raises
    ------
    InvalidRequest : `address` is no URL of a server; MLflow keeps no longer to files alone.
    Unavailable : nobody answers there, or what answers is no MLflow server.
    """
    server = _Server(address)
    experiment = server.experiment()
    found = server.found(experiment, run.id)
    if found is not None and found["info"].get("status") == "FINISHED":
        return str(found["info"]["run_id"])
    ended = round(run.created.timestamp() * 1000) if run.created is not None else 0
    if found is None:
        tags = [{"key": key, "value": value} for key, value in _tags(run, manifest).items()]
        asked = {
            "experiment_id": experiment,
            "run_name": run.name or run.id,
            "start_time": max(0, ended - round(run.train_seconds * 1000)),
            "tags": tags,
        }
        found = server.ask("runs/create", asked)["run"]
    id = str(found["info"]["run_id"])
    parameters = [{"key": key, "value": value[:LONGEST_VALUE]} for key, value in parameters_of(run).items()]
    for first in range(0, len(parameters), PARAMETERS):
        server.ask("runs/log-batch", {"run_id": id, "params": parameters[first : first + PARAMETERS]})
    names = metric_names(one.tag for one in scalars(run))
    metrics = [
        {"key": names[one.tag], "value": one.value, "timestamp": ended, "step": one.step} for one in scalars(run)
    ]
    for first in range(0, len(metrics), BATCH):
        server.ask("runs/log-batch", {"run_id": id, "metrics": metrics[first : first + BATCH]})
    server.ask("runs/update", {"run_id": id, "status": "FINISHED", "end_time": ended})
    return id


def parameters_of(run: Run) -> dict[str, str]:
    """The recipe with the options of each topic after a dot: "optimizer.learning_rate"."""
    flat: dict[str, str] = {}
    for name, value in run.spec.arguments().items():
        options = getattr(value, "__dataclass_fields__", None)
        if options is None:
            flat[name] = str(value)
        else:
            flat[name] = type(value).__name__
            flat |= {f"{name}.{one}": str(getattr(value, one)) for one in options if getattr(value, one) is not None}
    return flat


def metric_names(tags: Iterable[str]) -> dict[str, str]:
    """A name for each tag; those that would share one get a number."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for tag in dict.fromkeys(tags):
        name = first = metric_name(tag)
        place = 1
        while name in taken:
            place += 1
            name = f"{first}_{place}"
        taken.add(name)
        names[tag] = name
    return names


def metric_name(tag: str) -> str:
    """A name that MLflow takes: letters, digits, and _ - . / and spaces; other signs become an underscore."""
    kept = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "_-. /") else "_" for sign in tag)
    return kept[:240].strip("/ .") or "metric"


def _tags(run: Run, manifest: RunManifest) -> dict[str, str]:
    last = run.checkpoints[-1].digest if run.checkpoints else ""
    versions = {f"penult.version.{name}": version for name, version in manifest.versions.items()}
    tags = {
        TAG: run.id,
        "penult.dataset_digest": run.dataset_digest,
        "penult.checkpoint": last,
        "penult.user": run.user,
    }
    return {**tags, **versions, "mlflow.note.content": run.note}


class _Server:
    """An MLflow tracking server."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise invalid(
                f"an export to MLflow goes to a tracking server, such as mlflow:http://localhost:5000 (start one with "
                f"`mlflow server`); got {shown(address)}"
            )
        self._address = address.rstrip("/")

    def experiment(self) -> str:
        """The id of the experiment that runs go to, which is made where there is none."""
        found = self.ask("experiments/get-by-name", {"experiment_name": EXPERIMENT}, method="GET", or_none=True)
        if found is not None:
            return str(found["experiment"]["experiment_id"])
        return str(self.ask("experiments/create", {"name": EXPERIMENT})["experiment_id"])

    def found(self, experiment: str, id: str) -> dict[str, Any] | None:
        """The run of a penult run, None where there is none."""
        asked = {"experiment_ids": [experiment], "filter": f"tags.`{TAG}` = '{id}'", "max_results": 1}
        runs: list[dict[str, Any]] = self.ask("runs/search", asked).get("runs", [])
        return runs[0] if runs else None

    def ask(self, what: str, content: dict[str, Any], *, method: str = "POST", or_none: bool = False) -> Any:
        """What the server answers; None where there is no such thing and that is expected."""
        at = f"{self._address}/api/2.0/mlflow/{what}"
        at, body = (f"{at}?{urlencode(content)}", None) if method == "GET" else (at, json.dumps(content).encode())
        request = Request(at, data=body, method=method, headers={"content-type": "application/json"})
        try:
            with urlopen(request, timeout=TIMEOUT) as answer:
                return json.loads(answer.read() or b"{}")
        except HTTPError as error:
            with error:
                said = error.read(600).decode("utf-8", "replace")
            if or_none and error.code == 404 and "RESOURCE_DOES_NOT_EXIST" in said:
                return None
            raise self._failed(what, f"status {error.code}: {said}") from None
        except (URLError, TimeoutError, ValueError) as error:
            raise self._failed(what, str(error)) from None

    def _failed(self, what: str, said: str) -> PenultError:
        return Unavailable(
            f"the MLflow server at {self._address} did not do {what} ({said}): see that it runs and takes writes",
            kind=ErrorKind.UNREACHABLE,
            metadata={"address": self._address},
        )

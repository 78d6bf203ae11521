"""Runs in event files of TensorBoard, read back by its own reader, and at an MLflow server, which a stub stands for."""

import json
import threading
import warnings
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

import penult
from penult.results.metrics import EpochMetrics, Metrics
from penult.results.records import Group
from penult.trackers.mlflow import TAG, metric_name, metric_names, parameters_of, to_mlflow
from penult.trackers.scalars import scalars
from penult.trackers.tensorboard import crc32c, to_tensorboard


def group(index: int, name: str) -> Group:
    return Group(index=index, name=name, y=index, a=0, class_name=name, attribute_value="", count=10)


def metrics(first: float) -> Metrics:
    groups = (group(0, "ant, </script> 雪"), group(1, "bee"))
    values = np.array([first, np.nan])
    return Metrics(
        groups=groups,
        correct=np.array([5, 0]),
        group_accuracy=values,
        group_low=values,
        group_high=values,
        confusion=np.zeros((2, 2), dtype=np.int64),
        average_accuracy=first,
        weighted_average_accuracy=np.nan,
        worst_group_accuracy=first,
        worst_group=groups[0],
        worst_class_accuracy=first,
        balanced_accuracy=first,
        mean_group_accuracy=first,
        loss=0.25,
        brier=0.1,
        ece=0.1,
        ece_bins=15,
        auroc=0.5,
        average_weights=np.array([]),
        masks=(),
        worst_mask=None,
        worst_mask_accuracy=np.nan,
    )


@pytest.fixture
def run() -> penult.Run:
    from penult.results.finetune_spec import FinetuneSpec

    blank = dict.fromkeys(FinetuneSpec.__dataclass_fields__)
    spec = FinetuneSpec(
        **{**blank, "dataset": "birds", "epochs": 2, "seed": 3, "optimizer": penult.AdamW(learning_rate=0.1)}
    )
    history = tuple(
        EpochMetrics(epoch=epoch, step=int(10 * epoch), split="test", metrics=metrics(0.25 * epoch))
        for epoch in (1.0, 2.0)
    )
    return penult.Run(
        id="0123456789ab",
        spec=spec,
        dataset_digest="d" * 64,
        n_train_examples=8,
        checkpoints=(),
        history=history,
        created=datetime(2026, 11, 30, tzinfo=UTC),
        train_seconds=5.0,
        steps_per_epoch=10,
    )


@pytest.fixture
def manifest(run):
    return penult.RunManifest(
        run_id=run.id,
        spec=run.spec,
        dataset_digest=run.dataset_digest,
        weights="random",
        kept_row_ids=np.arange(8, dtype=np.uint64),
        versions={"torch": "2"},
        device="cpu",
        threads=1,
        resumed_at=(),
        created=run.created,
    )


def test_the_checksum_is_that_of_the_rfc():
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c(bytes(range(32))) == 0x46DD794E


def test_tensorboard_reads_what_was_written_and_a_second_export_changes_nothing(run, tmp_path):
    folder = to_tensorboard(run, tmp_path / "deep" / "events")
    (file,) = folder.iterdir()
    first = file.read_bytes()
    assert to_tensorboard(run, tmp_path / "deep" / "events") == folder
    assert [one.read_bytes() for one in folder.iterdir()] == [first]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
        events = list(loader.LegacyEventFileLoader(str(file)).Load())
    read = [(value.tag, event.step, value.simple_value) for event in events for value in event.summary.value]
    assert read == [(one.tag, one.step, pytest.approx(one.value)) for one in scalars(run)]
    assert ("test/worst_group", 20, 0.5) in read
    assert not any("bee" in tag for tag, _, _ in read), "an empty group has no accuracy"


class Stub(ThreadingHTTPServer):
    """As much of MLflow's REST API as an export uses, with its limits."""

    daemon_threads = True

    def __init__(self):
        self.calls, self.runs, self.metrics, self.parameters = [], {}, [], {}
        self.has_experiment = False
        self.fails_at = ""
        super().__init__(("127.0.0.1", 0), Handler)

    def answer(self, what: str, given: dict):
        self.calls.append(what)
        if what == self.fails_at:
            return 500, {"error_code": "INTERNAL_ERROR"}
        match what:
            case "experiments/get-by-name":
                if not self.has_experiment:
                    return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST"}
                return 200, {"experiment": {"experiment_id": "7"}}
            case "experiments/create":
                self.has_experiment = True
                return 200, {"experiment_id": "7"}
            case "runs/search":
                found = [run for run in self.runs.values() if f"'{run['tag']}'" in given["filter"]]
                return 200, {"runs": found}
            case "runs/create":
                tags = {one["key"]: one["value"] for one in given["tags"]}
                id = f"r{len(self.runs)}"
                self.runs[id] = {"info": {"run_id": id, "status": "RUNNING"}, "tag": tags[TAG]}
                return 200, {"run": self.runs[id]}
            case "runs/log-batch":
                assert len(given.get("metrics", [])) <= 1000
                assert len(given.get("params", [])) <= 100
                self.metrics += given.get("metrics", [])
                self.parameters |= {one["key"]: one["value"] for one in given.get("params", [])}
                return 200, {}
            case "runs/update":
                self.runs[given["run_id"]]["info"]["status"] = given["status"]
                return 200, {}
        raise AssertionError(what)


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *said):
        pass

    def _answer(self, given):
        status, said = self.server.answer(urlsplit(self.path).path.removeprefix("/api/2.0/mlflow/"), given)
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self._answer(parse_qs(urlsplit(self.path).query))

    def do_POST(self):
        self._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))


@pytest.fixture
def mlflow():
    stub = Stub()
    thread = threading.Thread(target=stub.serve_forever, daemon=True)
    thread.start()
    yield stub
    stub.shutdown()
    stub.server_close()
    thread.join()


def test_mlflow_gets_each_run_once(run, manifest, mlflow):
    address = f"http://127.0.0.1:{mlflow.server_address[1]}/"
    id = to_mlflow(run, manifest, address)
    assert [(m["key"], m["step"], m["value"]) for m in mlflow.metrics] == [
        (metric_name(one.tag), one.step, one.value) for one in scalars(run)
    ]
    assert mlflow.parameters == parameters_of(run)
    assert mlflow.parameters["optimizer.learning_rate"] == "0.1"
    before = (list(mlflow.metrics), dict(mlflow.runs))
    assert to_mlflow(run, manifest, address) == id
    assert (mlflow.metrics, mlflow.runs) == before
    assert mlflow.runs[id]["info"]["status"] == "FINISHED"


def test_an_export_that_was_cut_off_is_taken_to_its_end(run, manifest, mlflow):
    address = f"http://127.0.0.1:{mlflow.server_address[1]}"
    mlflow.fails_at = "runs/update"
    with pytest.raises(penult.Unavailable, match=r"runs/update.*500"):
        to_mlflow(run, manifest, address)
    mlflow.fails_at = ""
    to_mlflow(run, manifest, address)
    assert [one["info"]["status"] for one in mlflow.runs.values()] == ["FINISHED"]


@pytest.mark.parametrize("address", ["", "file:///tmp/mlruns", "sqlite:///x.db", "localhost:5000"])
def test_what_is_no_tracking_server_is_refused(run, manifest, address):
    with pytest.raises(penult.InvalidRequest, match="mlflow server"):
        to_mlflow(run, manifest, address)


def test_metrics_of_groups_whose_names_differ_in_foreign_signs_alone_stay_apart():
    names = metric_names(["雪/a", "雨/a", "雪/a", "_/a"])
    assert names == {"雪/a": "_/a", "雨/a": "_/a_2", "_/a": "_/a_3"}


@pytest.mark.parametrize(
    ("tag", "name"), [("test/a, b/accuracy", "test/a_ b/accuracy"), ("雪", "_"), ("</x>", "_/x_"), ("../..", "metric")]
)
def test_metrics_get_names_that_mlflow_takes(tag, name):
    assert metric_name(tag) == name

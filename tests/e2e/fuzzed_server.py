"""A server that holds a little of everything, and a valid request of every RPC."""

import contextlib
import hashlib
import importlib
import os
import pkgutil
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import answer_checks
import grpc
import numpy as np
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from message_strategies import Vocabulary

import penult
import penult_proto.v1
from penult.types import Preset
from penult.wire import arrays, encode_refits
from penult_proto.arrays import wire_dtype
from penult_proto.v1 import (
    arrays_pb2,
    cards_pb2,
    catalog_pb2,
    checkpoints_pb2,
    datasets_pb2,
    diagnostics_pb2,
    features_pb2,
    groupings_pb2,
    influence_pb2,
    info_pb2,
    jobs_pb2,
    merges_pb2,
    neighbours_pb2,
    progress_pb2,
    refits_pb2,
    runs_pb2,
    spectra_pb2,
    storage_pb2,
)

DEADLINE = 60.0
"""Seconds for a call that takes milliseconds: enough for a machine that does other things, too."""
MOST_MESSAGES = 500
"""Read of a stream."""


def _methods() -> dict[str, MethodDescriptor]:
    """Every RPC of every service in the package, by its path."""
    found: dict[str, MethodDescriptor] = {}
    for module in pkgutil.iter_modules(penult_proto.v1.__path__, "penult_proto.v1."):
        if module.name.endswith("_pb2"):
            for service in importlib.import_module(module.name).DESCRIPTOR.services_by_name.values():
                found.update({f"/{service.full_name}/{one.name}": one for one in service.methods})
    return found


METHODS = _methods()


def worker_of(job: str) -> int:
    """The process that works on a job, once there is one."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{entry}/fd/2").endswith(f"/logs/job-{job}.log"):
                    return int(entry)
    raise AssertionError(f"nothing works on job {job}")


class FuzzedServer:
    """The server of a client, its contents, and one channel for raw messages.

    `arrays` are the uploads by name, as their client gave them; `digests` theirs.
    """

    def __init__(self, client: penult.Client, table: Path, tiny: dict[str, Any]) -> None:
        self.client = client
        self.table = table
        self.arrays = _uploads()
        self.digests = {name: client.features.upload(**one, name=name).digest for name, one in self.arrays.items()}
        client.datasets.register("shapes", table)
        self.finetuning = client.finetune(dataset="shapes", epochs=1, **tiny)
        self.run = self.finetuning.wait()
        self.extracted = [client.extract(one, splits=["train", "val"]).wait() for one in self.run.checkpoints]
        # Without the one that blocks the queue, which nobody may cancel.
        self._jobs = [job.id for job in client.jobs.list()]
        self.refit = client.refit("waders", preset="erm")
        self.grouping = client.groupings.from_attribute("waders", name="true")
        self._channel = grpc.insecure_channel(client.connection.address, [("grpc.enable_http_proxy", 0)])
        self._tiny = tiny
        self.seeds = self._seeds()

    def __enter__(self) -> "FuzzedServer":
        # A job whose process is stopped uses no processor, and keeps the queue from starting others.
        self._blocking = self.client.finetune(dataset="shapes", epochs=1000, seed=1000, **self._tiny)
        self._stopped = worker_of(self._blocking.id)
        os.kill(self._stopped, signal.SIGSTOP)
        return self

    def __exit__(self, *_: object) -> None:
        self._blocking.cancel()
        with contextlib.suppress(ProcessLookupError):  # killed, since it does not end by itself
            os.kill(self._stopped, signal.SIGCONT)
        self._channel.close()

    def vocabulary(self, method: str) -> Vocabulary:
        """Texts for the requests of one RPC."""
        sets = [*self.digests.values(), *self.digests, *(one[:8] for one in self.digests.values())]
        if not method.endswith("/Delete"):
            sets += [one.digest for extraction in self.extracted for one in extraction.values()]
        checkpoints = [one.digest for one in self.run.checkpoints] + [self.run.checkpoints[0].digest[:10]]
        runs, jobs = [self.run.id], self._jobs
        axes = ["l1", "l2", "ratio", "group_ratio", "gamma", "up", "class_ratio", "detector_l1", "tau", "alpha"]
        axes += ["top_k", "subspace"]
        texts: Mapping[str, Sequence[str]] = {
            "feature_set": sets,
            "other": sets,
            "refit": [self.refit.digest, self.refit.digest[:8]],
            "grouping": ["true", self.grouping.digest, self.grouping.digest[:8]],
            "method": ["attribute", "uploaded", "errors", "regularised_errors", "kmeans", "units"],
            "fit": sets,
            "calibration": sets,
            "checkpoint": checkpoints,
            "digest": checkpoints,
            "repeat_errors_of": checkpoints,
            "run": runs,
            "id": sets + checkpoints + ["shapes"] if method.endswith("/Delete") else jobs + runs,
            "split": ["train", "val", "test"],
            "splits": ["train", "val", "test"],
            "evaluate": ["train", "val", "test"],
            "dataset": ["shapes", "footwear"],
            "backbone": ["test_resnet", "test_vit", str(self.table.parent), "owner/model"],
            "attribute": ["ground", "group"],
            "table": [str(self.table), str(self.table.parent)],
            "weights": [str(self.table)],
            "path": [str(self.table), str(self.table.parent), "../x"],
            "part": ["0", "1", "0, 0", "dark, red"],
            "preset": ["", *get_args(Preset)],
            "arrays": ["features", "y", "a", "logits", "row_id", "head.weight", "head.bias"],
            "dtype": ["float16", "float32"],
            "feature_kind": ["flat", "pooled"],
            "name": [*self.digests, *axes, "features", "y", "logits", "shapes", "head", "f*", "??????"],
            "tags": ["seen", "twice"],
            "user": [self.run.user],
        }
        if method.endswith("/GetHead"):
            texts = {**texts, "name": [*checkpoints, self.refit.digest, self.refit.digest[:8]]}
        return Vocabulary(texts)

    def ask(self, method: str, request: Any) -> list[str]:
        """Send a request twice where that is without effect, and check what comes back.

        Returns how it ended, in a word for each answer. Raises grpc.RpcError for a refusal, AssertionError for an
        answer that is not sane.
        """
        name = METHODS[method].name
        if name == "Delete":
            # Only uploads can be brought back.
            request.dry_run |= request.kind != storage_pb2.STORED_KIND_FEATURES
            self._restore()
        answer = self._call(method, request)
        check = getattr(answer_checks, f"check_{name}", None)
        outcome = (check(request, answer, self) if check else None) or ["answered"]
        match name:
            case "CreateJob":
                if not request.dry_run:
                    self._cancel(answer)
            case "Delete" | "Describe" | "UploadFeatures":
                self._restore()
            case "Attach" | "CancelJob" | "GetJobLog" | "GetUsage" | "WatchJob":
                pass
            case _:
                answer_checks.check_repeated(answer, self._call(method, request))
        return outcome

    def upload_messages(self, name: str) -> list[features_pb2.UploadFeaturesRequest]:
        """The messages of an upload, in pieces of 64 bytes at most 40 of each array."""
        one = self.arrays[name]
        sent = {key: np.asarray(one[key]) for key in ("y", "a", "logits", "row_id") if key in one}
        if "head" in one:
            sent |= {"head.weight": one["head"].weight, "head.bias": one["head"].bias}
        sent["features"] = one["features"]
        header = features_pb2.UploadHeader(name="")
        if "classes" in one:
            header.labels.classes.extend(one["classes"])
        chunks: list[features_pb2.UploadFeaturesRequest] = []
        for key, array in sent.items():
            content, step = array.tobytes(), max(64, array.nbytes // 3)
            dtype = wire_dtype(array.dtype)
            header.arrays.add(name=key, dtype=dtype, shape=array.shape, total_bytes=array.nbytes)
            for start in range(0, len(content), step):
                piece = arrays_pb2.ArrayChunk(name=key, offset=start, data=content[start : start + step])
                chunks.append(features_pb2.UploadFeaturesRequest(chunk=piece))
        return [features_pb2.UploadFeaturesRequest(header=header), *chunks]

    def _call(self, method: str, request: Any) -> Any:
        """The answer; of a stream of answers a list."""
        one = METHODS[method]
        answer_type = GetMessageClass(one.output_type)
        kind = f"{'stream' if one.client_streaming else 'unary'}_{'stream' if one.server_streaming else 'unary'}"
        make = getattr(self._channel, kind)
        encode = GetMessageClass(one.input_type).SerializeToString
        call = make(method, request_serializer=encode, response_deserializer=answer_type.FromString)
        sent = iter(request) if one.client_streaming else request
        answer = call(sent, timeout=DEADLINE, metadata=self.client.connection._metadata)
        if not one.server_streaming:
            return answer
        found: list[Message] = []
        for message in answer:
            found.append(message)
            if len(found) >= MOST_MESSAGES or one.name == "Attach":
                answer.cancel()
                break
        return found

    def _cancel(self, job: jobs_pb2.Job) -> None:
        if job.id == self._blocking.id:
            return
        request = jobs_pb2.CancelJobRequest(id=job.id)
        answer = self._call("/penult.v1.JobService/CancelJob", request)
        ended = (jobs_pb2.JOB_STATE_CANCELLED, jobs_pb2.JOB_STATE_SUCCEEDED, jobs_pb2.JOB_STATE_FAILED)
        assert answer.state in ended, answer

    def _restore(self) -> None:
        """Upload what was deleted or lost its name."""
        stored = {name: one.digest for one in self.client.features.list() for name in one.names}
        for name, one in self.arrays.items():
            if stored.get(name) != self.digests[name]:
                assert self.client.features.upload(**one, name=name).digest == self.digests[name]

    def _seeds(self) -> dict[str, Sequence[Any]]:
        """Valid requests by the path of their RPC."""
        services = (
            self._catalog_seeds(),
            _dataset_seeds(),
            self._feature_seeds(),
            self._grouping_seeds(),
            {"Info/GetInfo": [info_pb2.GetInfoRequest()], "Info/Attach": [info_pb2.AttachRequest()]},
            self._job_seeds(),
            # Of no query in progress: nothing comes.
            {"Progress/WatchQuery": [progress_pb2.WatchQueryRequest(id="0" * 32)]},
            self._diagnostic_seeds(),
            self._neighbour_seeds(),
            self._refit_seeds(),
            self._run_seeds(),
            self._checkpoint_seeds(),
            self._spectra_seeds(),
            self._storage_seeds(),
        )
        return {f"/penult.v1.{key.replace('/', 'Service/')}": value for one in services for key, value in one.items()}

    def _catalog_seeds(self) -> dict[str, Sequence[Any]]:
        describe, things = catalog_pb2.DescribeRequest, catalog_pb2.ThingKind
        tags, options = catalog_pb2.Tags(tags=["seen", "twice"]), cards_pb2.ListOptions(name="*", tags=["seen"])
        return {
            "Catalog/Describe": [
                describe(kind=things.THING_KIND_RUN, id=self.run.id, name="pilot", tags=tags),
                describe(kind=things.THING_KIND_CHECKPOINT, id=self.run.checkpoints[0].digest, note="the start"),
                describe(kind=things.THING_KIND_FEATURE_SET, id="gulls", tags=tags),
                describe(kind=things.THING_KIND_RESULT, id=self.refit.digest, name="head"),
                describe(kind=things.THING_KIND_DATASET, id="shapes", tags=tags),
                describe(kind=things.THING_KIND_GROUPING, id=self.grouping.digest, note="as labelled"),
                describe(kind=things.THING_KIND_JOB, id=self.run.id, note="the first"),
            ],
            "Catalog/GetHead": [
                catalog_pb2.GetHeadRequest(name=self.refit.digest),
                catalog_pb2.GetHeadRequest(name=self.run.checkpoints[0].digest),
            ],
            "Catalog/GetResult": [catalog_pb2.GetResultRequest(digest=self.refit.digest)],
            "Catalog/ListResults": [
                catalog_pb2.ListResultsRequest(),
                catalog_pb2.ListResultsRequest(
                    kind=catalog_pb2.RESULT_KIND_REFIT, feature_set="waders", options=options, limit=2
                ),
            ],
        }

    def _feature_seeds(self) -> dict[str, Sequence[Any]]:
        read = features_pb2.ReadFeaturesRequest
        return {
            "Feature/GetFeatureSet": [features_pb2.GetFeatureSetRequest(feature_set="waders")],
            "Feature/ListFeatureSets": [features_pb2.ListFeatureSetsRequest()],
            "Feature/ReadFeatures": [
                read(feature_set=self.digests["waders"]),
                read(feature_set="plain", arrays=["features", "y"]),
            ],
            "Feature/UploadFeatures": [self.upload_messages(name) for name in self.arrays],
        }

    def _grouping_seeds(self) -> dict[str, Sequence[Any]]:
        discover, source = groupings_pb2.DiscoverGroupsRequest, spectra_pb2.FeatureSource(feature_set="waders")
        given = groupings_pb2.UploadedGroups(
            row_ids=arrays.encode(np.arange(9, dtype=np.uint64)),
            values=arrays.encode(np.arange(9, dtype=np.int64) % 3 - 1),
            names=["few", "many"],
        )
        lists = groupings_pb2.ListGroupingsRequest
        return {
            "Grouping/AssignGroups": [groupings_pb2.AssignGroupsRequest(grouping="true", source=source)],
            "Grouping/DiscoverGroups": [
                discover(source=source, method="attribute"),
                discover(source=source, method="uploaded", uploaded=given),
                discover(source=source, method="regularised_errors", numbers={"l2": 0.1}, words={"balance": "none"}),
                discover(source=source, method="units", indices=[0], seed=3),
                discover(source=source, method="xrm", numbers={"steps": 20, "seeds": 2}, seed=3),
                discover(source=source, method="errors", head=refits_pb2.HeadReference(refit=self.refit.digest)),
            ],
            "Grouping/GetGrouping": [groupings_pb2.GetGroupingRequest(grouping="true")],
            "Grouping/ListGroupings": [lists(), lists(feature_set="waders", method="attribute", limit=2)],
            "Grouping/ReadGrouping": [groupings_pb2.ReadGroupingRequest(grouping=self.grouping.digest)],
            "Grouping/ScoreGrouping": [
                groupings_pb2.ScoreGroupingRequest(grouping="true", permutations=5),
                groupings_pb2.ScoreGroupingRequest(grouping="true", truth=self.grouping.digest),
            ],
        }

    def _merge(self) -> merges_pb2.MergeSpec:
        found = merges_pb2.MergeSpec(method="uniform", scope=merges_pb2.MERGE_SCOPE_FULL)
        for one, share in zip(self.run.checkpoints, (0.25, 0.75), strict=True):
            found.parents.add(checkpoint=one.digest, share=share)
        found.batch_norm.stream, found.batch_norm.count = merges_pb2.BATCH_NORM_STREAM_GROUP, 16
        return found

    def _job_seeds(self) -> dict[str, Sequence[Any]]:
        finetune = runs_pb2.FinetuneSpec()
        finished = self.client.connection.stubs.jobs.GetJob(
            jobs_pb2.GetJobRequest(id=self.finetuning.id), metadata=self.client.connection._metadata
        )
        finetune.CopyFrom(finished.spec.finetune)
        finetune.seed = 1
        warm = runs_pb2.FinetuneSpec(dataset=finetune.dataset, epochs=0)
        warm.start.checkpoint = self.run.checkpoints[0].digest
        extract = jobs_pb2.ExtractSpec(checkpoint=self.run.checkpoints[0].digest, splits=["test"], batch_size=8)
        register = jobs_pb2.RegisterDatasetSpec(name="again", table=str(self.table))
        specs = [
            jobs_pb2.JobSpec(finetune=finetune),
            jobs_pb2.JobSpec(finetune=warm),
            jobs_pb2.JobSpec(extract=extract),
            jobs_pb2.JobSpec(register_dataset=register),
            jobs_pb2.JobSpec(import_checkpoint=self._import()),
            jobs_pb2.JobSpec(merge=self._merge()),
        ]
        return {
            "Job/CancelJob": [jobs_pb2.CancelJobRequest(id=self.finetuning.id)],
            "Job/CreateJob": [
                *(jobs_pb2.CreateJobRequest(spec=spec) for spec in specs),
                jobs_pb2.CreateJobRequest(spec=specs[0], dry_run=True),
            ],
            "Job/GetJob": [jobs_pb2.GetJobRequest(id=self.finetuning.id)],
            "Job/GetJobLog": [jobs_pb2.GetJobLogRequest(id=self.finetuning.id, offset=one) for one in (0, 7, -5)],
            "Job/ListJobs": [jobs_pb2.ListJobsRequest(states=[jobs_pb2.JOB_STATE_SUCCEEDED], limit=5)],
            "Job/WatchJob": [jobs_pb2.WatchJobRequest(id=self.finetuning.id, after_seq=1)],
        }

    def _refit_seeds(self) -> dict[str, Sequence[Any]]:
        head = refits_pb2.Head(weight=arrays.encode(np.eye(2, 4)), bias=arrays.encode(np.zeros(2)))
        heads = [refits_pb2.HeadReference(refit=self.refit.digest), refits_pb2.HeadReference(explicit=head)]
        mixtures = refits_pb2.EvaluateMixturesRequest(
            heads=heads, shares=arrays.encode(np.array([[0.5, 0.5], [1.0, 0.0]])), feature_set="waders"
        )
        evaluate = refits_pb2.EvaluateRequest
        own = evaluate(checkpoint=self.run.checkpoints[1].digest, feature_set=self.extracted[1]["val"].digest)
        requests = [encode_refits.refit_request({"features": "waders", **options}) for options in REFITS]
        return {
            "Refit/ComputeRefits": [refits_pb2.ComputeRefitsRequest(requests=[one]) for one in requests],
            "Refit/Evaluate": [
                evaluate(refit=self.refit.digest, feature_set="waders"),
                evaluate(explicit=head, feature_set="waders"),
                evaluate(explicit=head, feature_set="waders", panels=["subpop", "fairness"]),
                own,
            ],
            "Refit/EvaluateMixtures": [mixtures],
            "Refit/SoupHeads": [
                refits_pb2.SoupHeadsRequest(heads=heads, feature_set="waders", rule=rule, **others)
                for rule, others in (
                    (refits_pb2.HEAD_SOUP_RULE_LEARNED, {"by_group": True}),
                    (refits_pb2.HEAD_SOUP_RULE_MOMENTS, {"head_groups": [0, 3]}),
                    (refits_pb2.HEAD_SOUP_RULE_GREEDY, {"margin": 0.01}),
                )
            ],
        }

    def _checkpoint_seeds(self) -> dict[str, Sequence[Any]]:
        return {
            "Checkpoint/GetCheckpoint": [checkpoints_pb2.GetCheckpointRequest(digest=self.run.checkpoints[0].digest)],
            "Checkpoint/ListCheckpoints": [checkpoints_pb2.ListCheckpointsRequest()],
            "Checkpoint/ReadCheckpoint": [
                checkpoints_pb2.ReadCheckpointRequest(digest=one.digest) for one in self.run.checkpoints
            ],
            "Checkpoint/UploadFiles": [
                _files_messages({"a.pt": b"abc", "config.json": b"{}"}),
                _files_messages({"b": b"x"}),
            ],
        }

    def _import(self) -> jobs_pb2.ImportCheckpointSpec:
        """Of a copy of a checkpoint's own file."""
        stored = Path(self.client.info().root) / "checkpoints" / self.run.checkpoints[0].digest / "model.safetensors"
        place = self.table.with_name("model.safetensors")  # what the server keeps cannot be named
        shutil.copyfile(stored, place)
        return jobs_pb2.ImportCheckpointSpec(
            path=str(place), backbone="test_resnet", dataset="shapes", classes=["bright", "dark"], image_size=16
        )

    def _run_seeds(self) -> dict[str, Sequence[Any]]:
        return {
            "Run/GetRun": [runs_pb2.GetRunRequest(id=self.run.id)],
            "Run/GetRunManifest": [runs_pb2.GetRunRequest(id=self.run.id)],
            "Run/ListRuns": [runs_pb2.ListRunsRequest()],
        }

    def _storage_seeds(self) -> dict[str, Sequence[Any]]:
        """Deletions of what comes back, and of what is only looked at."""
        delete, kinds = storage_pb2.DeleteRequest, storage_pb2
        return {
            "Storage/Delete": [
                delete(kind=kinds.STORED_KIND_FEATURES, id="plain"),
                delete(kind=kinds.STORED_KIND_RUN, id=self.run.id, dry_run=True),
                delete(kind=kinds.STORED_KIND_CHECKPOINT, id=self.run.checkpoints[0].digest, dry_run=True),
                delete(kind=kinds.STORED_KIND_DATASET, id="shapes", dependents=True, dry_run=True),
                delete(kind=kinds.STORED_KIND_RESULT, id=self.refit.digest, dry_run=True),
                delete(kind=kinds.STORED_KIND_GROUPING, id=self.grouping.digest, dry_run=True),
                delete(kind=kinds.STORED_KIND_JOB, id=self.finetuning.id, dry_run=True),
            ],
            "Storage/GetUsage": [storage_pb2.GetUsageRequest(), storage_pb2.GetUsageRequest(things=True)],
        }

    def _diagnostic_seeds(self) -> dict[str, Sequence[Any]]:
        waders = spectra_pb2.FeatureSource(feature_set="waders")
        first, last = (
            spectra_pb2.FeatureSource(checkpoint=one.digest, split="train")
            for one in (self.run.checkpoints[0], self.run.checkpoints[-1])
        )
        ask, of = diagnostics_pb2.DiagnoseRequest, influence_pb2.InfluenceRequest
        return {
            "Diagnostic/ComputeInfluence": [
                of(refit=self.refit.digest, source=waders, top_k=1, verify=1),
                of(refit=self.refit.digest, source=waders, by=spectra_pb2.SPECTRA_BY_CLASS),
            ],
            "Diagnostic/Diagnose": [
                ask(source=waders, ids=["nc"], replicates=20),
                ask(source=first, other=last, ids=["cka"], by=spectra_pb2.SPECTRA_BY_CLASS, matched=False),
                ask(source=first, ids=["dimension", "cdnv"], by=spectra_pb2.SPECTRA_BY_ALL, numbers={"mle_k": 3}),
            ],
            "Diagnostic/ListDiagnostics": [diagnostics_pb2.ListDiagnosticsRequest()],
        }

    def _neighbour_seeds(self) -> dict[str, Sequence[Any]]:
        waders, odd = (spectra_pb2.FeatureSource(feature_set=name) for name in ("waders", "odd"))
        unseen = spectra_pb2.FeatureSource(checkpoint=self.run.checkpoints[0].digest, split="val")
        first, last = (
            spectra_pb2.FeatureSource(checkpoint=one.digest, split="train")
            for one in (self.run.checkpoints[0], self.run.checkpoints[-1])
        )
        pb = neighbours_pb2
        return {
            "Neighbour/ComputeNeighbourRates": [
                pb.ComputeNeighbourRatesRequest(source=first, k=3),
                pb.ComputeNeighbourRatesRequest(source=first, among=last, k=2, across_checkpoints=True),
            ],
            "Neighbour/EvaluateNeighbours": [
                pb.EvaluateNeighboursRequest(source=waders),
                pb.EvaluateNeighboursRequest(
                    source=first, among=last, k=[1, 4], balanced=True, across_checkpoints=True
                ),
            ],
            "Neighbour/FindDuplicates": [
                pb.FindDuplicatesRequest(source=odd, metric=pb.NEIGHBOUR_METRIC_L2),
                pb.FindDuplicatesRequest(source=first, against=unseen, threshold=0.1),
            ],
            "Neighbour/FindLabelNoise": [
                pb.FindLabelNoiseRequest(source=waders, k=2),
                pb.FindLabelNoiseRequest(source=first, folds=2, temperature=1.0),
            ],
            "Neighbour/ReadNeighbours": [
                pb.NeighbourQuery(source=waders, k=3),
                pb.NeighbourQuery(source=odd, k=2, metric=pb.NEIGHBOUR_METRIC_L2, within=pb.NEIGHBOUR_WITHIN_CLASS),
                pb.NeighbourQuery(source=first, among=last, k=2, across_checkpoints=True),
                pb.NeighbourQuery(source=waders, k=2, recall=0.9, method=pb.NEIGHBOUR_METHOD_HNSW, seed=1),
            ],
        }

    def _spectra_seeds(self) -> dict[str, Sequence[Any]]:
        uploaded = spectra_pb2.FeatureSource(feature_set="waders")
        of_checkpoint = spectra_pb2.FeatureSource(checkpoint=self.run.checkpoints[0].digest, split="train")
        some = spectra_pb2.FeatureSource(feature_set="waders")
        some.rows.row_ids.CopyFrom(arrays.encode(np.arange(5, 30, dtype=np.uint64)))
        kept = spectra_pb2.FeatureSource()
        kept.CopyFrom(of_checkpoint)
        kept.rows.run = self.run.id
        sources = [uploaded, some, of_checkpoint, kept, spectra_pb2.FeatureSource(feature_set="odd")]
        spectra = [spectra_pb2.ComputeSpectraRequest(source=one, replicates=8, top_k=2) for one in sources]
        rest = spectra_pb2.ComputeSpectraRequest(replicates=0, top_k=2)
        sides = [spectra_pb2.Subspace(source=one, part="0") for one in (uploaded, some)]
        return {
            "Spectra/ComputeSpectra": spectra,
            "Spectra/ComputeRunSpectra": [
                spectra_pb2.ComputeRunSpectraRequest(run=self.run.id, split="train", spectra=rest)
            ],
            "Spectra/ComputeDescriptors": [spectra_pb2.ComputeDescriptorsRequest(source=one) for one in sources],
            "Spectra/ComputePrincipalAngles": [
                spectra_pb2.ComputePrincipalAnglesRequest(first=sides[0], second=sides[1], top_k=2)
            ],
            "Spectra/ReadCoordinates": [spectra_pb2.ReadCoordinatesRequest(source=one) for one in sources],
            "Spectra/ReadEigenvectors": [spectra_pb2.ReadEigenvectorsRequest(source=one, top_k=2) for one in sources],
        }


def _files_messages(files: Mapping[str, bytes]) -> list[checkpoints_pb2.UploadFilesRequest]:
    """The messages of an upload of files, one byte a message."""
    headers = [
        checkpoints_pb2.FileHeader(name=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in files.items()
    ]
    header = checkpoints_pb2.UploadFilesHeader(files=headers)
    data = [bytes([byte]) for content in files.values() for byte in content]
    return [
        checkpoints_pb2.UploadFilesRequest(header=header),
        *(checkpoints_pb2.UploadFilesRequest(data=one) for one in data),
    ]


REFITS: list[dict[str, Any]] = [
    {"l2": 0.1, "seed": 1, "evaluate": {"own": "waders"}},
    {"l1": 0.01, "l2": 0.01, "balance": "subsetting", "by": "group"},
    {"preset": "erm", "balance": "upweighting", "by": "class"},
    {"features": "odd", "l2": 0.01},
    {"features": "odd", "preset": "group_dro"},
    {"preset": "dfr_l2", "repeats": 2},
    {"preset": "jtt"},
    {"preset": "group_dro"},
    {"preset": "logit_adjusted"},
    {"preset": "erm", "grid": {"l2": [0.1, 1.0]}, "select": {"on": "half"}},
    {"path": {"optimizer": "gd", "learning_rate": 0.1, "steps": 5}, "l2": 0.01},
    {
        "path": {"optimizer": "sgd", "learning_rate": 0.1, "epochs": 1, "batch_size": 8},
        "balance": "upsampling",
        "by": "class",
    },
]


def _dataset_seeds() -> dict[str, Sequence[Any]]:
    return {
        "Dataset/GetDataset": [datasets_pb2.GetDatasetRequest(name="shapes")],
        "Dataset/ListDatasets": [datasets_pb2.ListDatasetsRequest()],
        "Dataset/ReadExamples": [
            datasets_pb2.ReadExamplesRequest(
                dataset="shapes", split="train", row_ids=arrays.encode(np.arange(1, dtype=np.uint64)), side=16
            )
        ],
    }


def _uploads() -> dict[str, dict[str, Any]]:
    """Small feature sets: with everything; with an empty group and another width; of float16 without attributes; with
    columns that are constant, equal, huge and tiny, and groups of one row and of equal rows."""
    rng = np.random.default_rng(0)
    y, a = np.repeat([0, 1], 20), np.tile([0, 0, 0, 1], 10)
    features = (rng.standard_normal((40, 4)) + y[:, None] - 0.5 * a[:, None]).astype(np.float32)
    head = penult.Head(weight=rng.standard_normal((2, 4)), bias=np.zeros(2))
    odd = np.stack([np.full(12, 1e4), *rng.standard_normal((2, 12)) * [[1e30], [1e-30]], np.ones(12)], axis=1)
    odd[5:9] = odd[5]
    return {
        "odd": {"features": odd.astype(np.float32), "y": np.arange(12) // 6, "a": [0, 1, 2, 2, 2, *[0] * 4, 1, 2, 2]},
        "waders": {"features": features, "y": y, "a": a, "logits": features[:, :2].copy(), "head": head},
        "gulls": {
            "features": rng.standard_normal((24, 3)).astype(np.float32),
            "y": np.repeat([0, 1, 2], 8),
            "a": np.where(np.arange(24) < 8, 0, np.arange(24) % 2),
            "classes": ["herring", "common", "black"],
        },
        "plain": {"features": rng.standard_normal((12, 4)).astype(np.float16), "y": np.arange(12) % 2},
    }

"""What is done to a store while its disk is watched, and what is told to whoever asked for it.

`tell` hears, in this order, what a client was told: "has KIND ID" (it must be there from now on), "name KIND NAME ID",
"job ID", "going KIND ID" (it may go from now on), "gone KIND ID" (it must not be there).
"""

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
from tiny_server import TinyServer, finetuning, make_table, make_texts

from penult_proto.v1 import groupings_pb2, jobs_pb2, spectra_pb2
from penult_server.compute.backend import choose_backend
from penult_server.compute.groupings.discover import discover
from penult_server.compute.groupings.inputs import Access
from penult_server.compute.rows.resident import ResidentFeatures
from penult_server.front.queries.grouping_request import complete_discovery, grouping_digest
from penult_server.messages import feature_set_to_proto
from penult_server.records import LabelNames
from penult_server.registry.cards import Given
from penult_server.registry.deletion_plan import Sort
from penult_server.stores.features import FeatureHeader, FeatureWriter
from penult_server.stores.removal import remove
from penult_server.stores.uploads import ExpectedFile, IncomingFiles

Tell = Callable[[str], None]
LABELS = LabelNames(classes=("cat", "dog"), attribute="place", attribute_values=("in", "out"))
RESULT = "d" * 64


async def prepare(server: TinyServer, tell: Tell) -> list[str]:
    """Tables, outside of the store."""
    make_table(server.root.parent / "images")
    make_texts(server.root.parent / "texts" / "table.csv")
    return []


async def fill(server: TinyServer, tell: Tell) -> list[str]:
    """A dataset, a run with three checkpoints, features of one and uploaded ones, an answer."""
    await prepare(server, tell)
    table = server.root.parent / "images" / "table.csv"
    spec = jobs_pb2.JobSpec(register_dataset=jobs_pb2.RegisterDatasetSpec(name="shapes", table=str(table)))
    await _job(server, spec, tell)
    job = await _job(server, finetuning(seed=9, epochs=1, keep="all"), tell, name="first")
    spec = jobs_pb2.ExtractSpec(checkpoint=job.result.run.checkpoints[-1].digest, splits=["val"])
    await _job(server, jobs_pb2.JobSpec(extract=spec), tell)
    await _upload(server, tell, seed=1, name="old")
    answer = spectra_pb2.Spectra(feature_set="old", digest=RESULT)
    await server.registry.run(server.registry.catalog.add_result, RESULT, "spectra", answer, Given(name="answer"))
    tell(f"has result {RESULT}")
    return []


async def upload(server: TinyServer, tell: Tell) -> list[str]:
    """Arrays, under a name."""
    return [await _upload(server, tell, seed=2, name="mine")]


async def upload_again(server: TinyServer, tell: Tell) -> list[str]:
    """Arrays that are stored, under another name."""
    return [await _upload(server, tell, seed=1, name="also")]


async def group(server: TinyServer, tell: Tell) -> list[str]:
    """The groups of an attribute column, as the compute worker finds and the front registers them."""
    old = await server.registry.run(server.registry.catalog.feature_set, "old")
    request = groupings_pb2.DiscoverGroupsRequest(method="attribute")
    request.source.feature_set = old.digest
    await server.registry.run(complete_discovery, server.registry.catalog, request)
    backend = choose_backend("cpu")
    residents = ResidentFeatures(server.root, backend, 2**20)
    access = Access(root=server.root, residents=residents, backend=backend, check=lambda: None)
    found = discover(request, grouping_digest(request), access)
    await server.registry.run(server.registry.catalog.add_grouping, found, Given(name="groups"))
    tell(f"has grouping {found.digest}")
    tell(f"name grouping groups {found.digest}")
    return [found.digest]


async def register(server: TinyServer, tell: Tell) -> list[str]:
    """Texts, which the store keeps."""
    table = server.root.parent / "texts" / "table.csv"
    spec = jobs_pb2.RegisterDatasetSpec(name="words", table=str(table))
    job = await _job(server, jobs_pb2.JobSpec(register_dataset=spec), tell)
    return [job.result.dataset.digest]


async def finetune(server: TinyServer, tell: Tell) -> list[str]:
    """A run that keeps its last checkpoint, and saves its state at every step."""
    job = await _job(server, finetuning(keep="last"), tell, name="second")
    return [one.digest for one in job.result.run.checkpoints]


async def extract(server: TinyServer, tell: Tell) -> list[str]:
    """The features of a split."""
    page, _ = await server.registry.run(server.registry.catalog.run_page, _runs(), 100)
    oldest = page[-1]
    spec = jobs_pb2.ExtractSpec(checkpoint=oldest.checkpoints[0].digest, splits=["train"])
    job = await _job(server, jobs_pb2.JobSpec(extract=spec), tell)
    return [one.digest for one in job.result.extract.feature_sets]


async def bring(server: TinyServer, tell: Tell) -> list[str]:
    """A model's file, sent and imported."""
    first = sorted(server.root.glob("checkpoints/[0-9a-f]*/model.safetensors"))[0]
    content = first.read_bytes()
    files = [ExpectedFile("model.safetensors", len(content), hashlib.sha256(content).hexdigest())]
    with IncomingFiles(server.root, files) as incoming:
        incoming.write(content)
        incoming.finish()
    spec = jobs_pb2.ImportCheckpointSpec(
        content=incoming.digest, name="model", backbone="test_resnet", classes=["no", "yes"], image_size=32
    )
    job = await _job(server, jobs_pb2.JobSpec(import_checkpoint=spec), tell)
    return [job.result.checkpoint.digest]


async def describe(server: TinyServer, tell: Tell) -> list[str]:
    """A name moves, tags and a note come, an answer is kept."""
    catalog, run = server.registry.catalog, server.registry.run
    digest = (await run(catalog.feature_set, "old")).digest
    await run(catalog.cards.replace, "feature_set", digest, name="old", tags=["seen"], note="said")
    await run(catalog.add_result, "e" * 64, "spectra", spectra_pb2.Spectra(feature_set=digest), Given(name="new"))
    tell(f"has result {'e' * 64}")
    return [digest]


async def delete(server: TinyServer, tell: Tell) -> list[str]:
    """A run and all that rests on it; again, and there is none."""
    page, _ = await server.registry.run(server.registry.catalog.run_page, _runs(), 100)
    deletions = server.registry.deletions
    if not page:
        return []
    plan = await server.registry.run(deletions.planner.plan, Sort.RUN, page[0].id, dependents=True)
    things = [f"{one.sort.table} {one.id}" for one in plan.goes]
    for one in things:
        tell(f"going {one}")
    left = await server.registry.run(deletions.execute, plan)
    remove(left)
    deletions.reserve.keep()
    for one in things:
        tell(f"gone {one}")
    return []


OPERATIONS: dict[str, Callable[[TinyServer, Tell], Awaitable[list[str]]]] = {
    one.__name__: one
    for one in (prepare, fill, upload, upload_again, group, register, finetune, extract, bring, describe, delete)
}


async def _job(server: TinyServer, spec: jobs_pb2.JobSpec, tell: Tell, name: str = "") -> jobs_pb2.Job:
    """The job when it has succeeded. Raises RefusedError where it has not."""
    submitted = await server.queue.submit(spec, "", Given(name=name))
    tell(f"job {submitted.id}")
    is_kept = spec.finetune.keep in ("", "all")
    job = await server.ended(submitted.id, tell if is_kept else lambda _: None)
    if job.state != jobs_pb2.JOB_STATE_SUCCEEDED:
        raise RefusedError(job.error.kind, job.error.message)
    for one in made_by(job):
        tell(f"has {one}")
    return job


def made_by(job: jobs_pb2.Job) -> list[str]:
    """What a job has made, as kinds and ids."""
    result = job.result
    found = [f"feature_set {one.digest}" for one in result.extract.feature_sets]
    found += [f"dataset {result.dataset.name}"] if result.HasField("dataset") else []
    found += [f"checkpoint {result.checkpoint.digest}"] if result.HasField("checkpoint") else []
    if result.HasField("run"):
        found += [f"run {result.run.id}", *(f"checkpoint {one.digest}" for one in result.run.checkpoints)]
    return found


class RefusedError(Exception):
    """A job that failed."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


async def _upload(server: TinyServer, tell: Tell, *, seed: int, name: str) -> str:
    arrays = uploaded(seed)
    header = FeatureHeader(n_examples=12, n_features=3, dtype="float32", labels=LABELS, n_logits=2)
    with FeatureWriter(server.root, header) as writer:
        writer.append(**arrays)
        message = feature_set_to_proto(writer.finish())
    await server.registry.run(server.registry.catalog.add_feature_set, message, Given(name=name))
    tell(f"has feature_set {message.digest}")
    tell(f"name feature_set {name} {message.digest}")
    return message.digest


def uploaded(seed: int) -> dict[str, Any]:
    """Twelve rows."""
    rng = np.random.default_rng(seed)
    return {
        "features": rng.standard_normal((12, 3)).astype(np.float32),
        "y": rng.integers(0, 2, 12),
        "a": rng.integers(0, 2, 12),
        "row_id": np.arange(12, dtype=np.uint64),
        "logits": rng.standard_normal((12, 2)).astype(np.float32),
    }


def _runs() -> Any:
    from penult_proto.v1 import runs_pb2

    return runs_pb2.ListRunsRequest()


def places(root: Path) -> dict[str, list[Path]]:
    """Directories of things, by their folder; hidden ones are not things."""
    folders = ("checkpoints", "datasets", "features", "groupings", "runs", "uploads")
    return {one: [path for path in (root / one).glob("*") if not path.name.startswith(".")] for one in folders}

"""A job that an earlier version queued is read, is the same work as it was, and is complete."""

import asyncio
import hashlib
import json

from google.protobuf.json_format import MessageToDict

from penult_proto.v1 import jobs_pb2 as pb
from penult_server.finetuning.request import complete, config_from_proto
from penult_server.front.queries.named_files import NamedFiles
from penult_server.front.queries.specs import RECIPE, Resolved, Resolver
from penult_server.front.registry_thread import Registry
from penult_server.registry.database import Database
from penult_server.settings import Settings

# As the registry of November 2026 held it.
SPEC = """{"dataset": "footwear", "attribute": "ground", "backbone": "test_resnet", "pretrained": false,
"balance": {"method": "BALANCE_METHOD_UPSAMPLING", "by": "BALANCE_BY_GROUP", "missingGroups": "MISSING_GROUPS_REFUSE"},
"epochs": 1, "seed": "18446744073709551615", "optimizer": "OPTIMIZER_NAME_SGD", "learningRate": 0.001,
"weightDecay": 0.01, "momentum": 0.5, "schedule": "SCHEDULE_NAME_COSINE", "warmup": 0.1, "batchSize": 32, "flip": true,
"imageSize": 0, "evaluate": ["val"], "evaluateEvery": 1.0, "checkpointEvery": 1.0, "earlySteps": ["1", "5"],
"saveEvery": "0", "objective": {"loss": "LOSS_NAME_GROUP_DRO", "groupDroRate": 0.01, "groupDroAdjustment": 0.0,
"labelSmoothing": 0.0, "mixup": 0.0, "sam": 0.0}, "decayAll": false, "scheduleByEpoch": false, "clipNorm": 0.0,
"precision": "PRECISION_AUTO", "compile": false, "accumulate": 1, "cropScale": 0.0, "processes": 1, "imageResize": 0}"""
JOB = f'{{"id": "0123456789ab", "spec": {{"finetune": {SPEC}}}, "state": "JOB_STATE_QUEUED", "lastSeq": "1"}}'


def test_a_finetuning_that_was_queued_before_is_started_as_it_was_asked_for(tmp_path):
    database = Database(tmp_path / "penult.db")
    with database.transaction() as connection:
        row = ("0123456789ab", "digest", "JOB_STATE_QUEUED", 1.0, JOB)
        connection.exec_driver_sql(
            "INSERT INTO job (id, spec_digest, state, created, message) VALUES (?, ?, ?, ?, ?)", row
        )
    database.close()

    async def started() -> tuple[pb.Job, Resolved]:
        registry = Registry()
        await registry.open(tmp_path / "penult.db")
        job = await registry.run(registry.jobs.start_next)
        resolved = await Resolver(registry, tmp_path, NamedFiles(Settings(root=tmp_path))).identify(job.spec)
        await registry.close()
        return job, resolved

    async def identified(spec: pb.JobSpec) -> Resolved:
        registry = Registry()
        await registry.open(tmp_path / "penult.db")
        resolved = await Resolver(registry, tmp_path, NamedFiles(Settings(root=tmp_path))).identify(spec)
        await registry.close()
        return resolved

    job, resolved = asyncio.run(started())
    digest, dataset_digest = resolved.digest, resolved.dataset_digest
    spec = job.spec.finetune
    assert MessageToDict(spec) == json.loads(SPEC)
    content = json.dumps([RECIPE, {"finetune": json.loads(SPEC)}, dataset_digest, "random"], sort_keys=True)
    assert digest == hashlib.sha256(content.encode()).hexdigest()
    config = config_from_proto(spec)
    assert (config.seed, config.optimizer, config.momentum, config.early_steps) == (2**64 - 1, "sgd", 0.5, (1, 5))
    assert (config.method, config.by, config.objective.loss) == ("upsampling", "group", "group_dro")
    complete(spec, "image")
    # Requests did not say then which checkpoints are kept; saying that all are does not make it other work.
    assert MessageToDict(spec) == json.loads(SPEC) | {"keep": "all"}, "nothing else is left to fill in"
    completed = asyncio.run(identified(pb.JobSpec(finetune=spec)))
    assert completed.digest == digest

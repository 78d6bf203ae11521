"""CatalogService: cards of all kinds of things, and stored answers."""

from penult_proto.errors import ErrorKind
from penult_proto.v1 import catalog_pb2 as pb
from penult_proto.v1 import catalog_pb2_grpc
from penult_proto.v1.refits_pb2 import Refit
from penult_server.datasets.catalog import packaged
from penult_server.errors import ServiceError, unknown
from penult_server.front.guard import Context
from penult_server.front.jobs.queue import check_nameable
from penult_server.front.queries.cards import checked, page_length
from penult_server.front.queries.stored_heads import refit_or_checkpoint
from penult_server.front.registry_thread import Registry
from penult_server.notes import notes_to_proto
from penult_server.registry.cards import Given

KINDS: dict[int, str] = {
    pb.THING_KIND_RUN: "run",
    pb.THING_KIND_CHECKPOINT: "checkpoint",
    pb.THING_KIND_FEATURE_SET: "feature_set",
    pb.THING_KIND_RESULT: "result",
    pb.THING_KIND_DATASET: "dataset",
    pb.THING_KIND_JOB: "job",
    pb.THING_KIND_GROUPING: "grouping",
}


class CatalogServicer(catalog_pb2_grpc.CatalogServiceServicer):
    """Describe, and results."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def Describe(self, request: pb.DescribeRequest, context: Context) -> pb.DescribeResponse:
        if request.kind not in KINDS:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT, "kind must say what sort of thing is described", field="kind"
            )
        if not (request.HasField("name") or request.HasField("tags") or request.HasField("note")):
            raise ServiceError(ErrorKind.INVALID_ARGUMENT, "there is nothing to change: give a name, tags or a note")
        checked(KINDS[request.kind].replace("_", " "), name=request.name, tags=request.tags.tags, note=request.note)
        return await self._registry.run(self._describe, request)

    async def GetResult(self, request: pb.GetResultRequest, context: Context) -> pb.Result:
        return await self._registry.run(self._result, request.digest)

    async def GetHead(self, request: pb.GetHeadRequest, context: Context) -> pb.StoredHead:
        catalog = self._registry.catalog
        found = await self._registry.run(refit_or_checkpoint, catalog, request.name, "head")
        if isinstance(found, Refit):
            return pb.StoredHead(refit=found)
        return pb.StoredHead(checkpoint=found)

    async def ListResults(self, request: pb.ListResultsRequest, context: Context) -> pb.ListResultsResponse:
        limit = page_length(request.limit if request.HasField("limit") else None)
        results, next_page = await self._registry.run(self._registry.catalog.result_page, request, limit)
        return pb.ListResultsResponse(results=results, next_page=next_page)

    def _describe(self, request: pb.DescribeRequest) -> pb.DescribeResponse:
        catalog, kind = self._registry.catalog, KINDS[request.kind]
        match kind:
            case "feature_set":
                id = catalog.finder.find_feature_set(request.id)
            case "result":
                id = catalog.finder.find("summary", request.id)
            case "dataset":
                id = self._dataset(request)
            case "job":
                id = catalog.finder.find(kind, request.id)
                check_nameable(self._registry.jobs.get(id).spec, Given(name=request.name))
            case _:
                id = catalog.finder.find(kind, request.id)
        notes = catalog.cards.replace(
            kind,
            id,
            name=request.name if request.HasField("name") else None,
            tags=request.tags.tags if request.HasField("tags") else None,
            note=request.note if request.HasField("note") else None,
        )
        return pb.DescribeResponse(id=id, card=catalog.cards.get(kind, id), notes=notes_to_proto(notes))

    def _dataset(self, request: pb.DescribeRequest) -> str:
        """The name of a dataset whose card is changed."""
        if request.HasField("name"):
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"dataset {request.id!r} is asked for by its own name; register its source under another name",
                field="name",
            )
        if request.id in packaged():
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"{request.id!r} is part of the installation; only datasets that were registered have tags and a note",
                field="id",
            )
        known = [one.name for one in self._registry.catalog.datasets()]
        if request.id not in known:
            raise unknown(ErrorKind.UNKNOWN_DATASET, "registered dataset", request.id, known)
        return request.id

    def _result(self, name: str) -> pb.Result:
        digest, kind, stored = self._registry.catalog.find_result(name)
        result = pb.Result()
        answer = getattr(result, kind)
        answer.MergeFromString(stored)
        answer.SetInParent()
        answer.reused = True
        if kind in ("refit", "spectra"):
            answer.card.CopyFrom(self._registry.catalog.cards.get("result", digest))
        return result

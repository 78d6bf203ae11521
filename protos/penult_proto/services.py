"""Every service of the wire, and which of its RPCs only read."""

from google.protobuf.descriptor import ServiceDescriptor

from penult_proto.v1 import (
    catalog_pb2,
    checkpoints_pb2,
    datasets_pb2,
    diagnostics_pb2,
    features_pb2,
    groupings_pb2,
    info_pb2,
    jobs_pb2,
    neighbours_pb2,
    progress_pb2,
    refits_pb2,
    runs_pb2,
    spectra_pb2,
    storage_pb2,
)

_FILES = (
    catalog_pb2,
    checkpoints_pb2,
    datasets_pb2,
    diagnostics_pb2,
    features_pb2,
    groupings_pb2,
    info_pb2,
    jobs_pb2,
    neighbours_pb2,
    progress_pb2,
    refits_pb2,
    runs_pb2,
    spectra_pb2,
    storage_pb2,
)

QUERY_KEY = "penult-query"
"""Metadata that names a query, by which `ProgressService` watches it."""
REQUEST_KEY = "x-request-id"
"""Metadata that numbers a call: made by the client, one for all its attempts, and sent back in the trailers."""
WAITED_KEY = "penult-waited"
"""Metadata by which the compute worker tells the front for how many seconds a call waited for the device."""
CALLER_KEY = "penult-caller"
"""Metadata by which the front tells its compute worker for which user it asks."""
IDLE_KEY = "penult-idle-seconds"
"""Metadata by which the front tells its compute worker for how many seconds a stream may stand still."""
SERVICES: dict[str, ServiceDescriptor] = {
    service.full_name: service for file in _FILES for service in file.DESCRIPTOR.services_by_name.values()
}
"""Services by their full names."""
READ_METHODS: dict[str, tuple[str, ...]] = {
    name: tuple(method.name for method in service.methods if method.name.startswith(("Get", "List")))
    for name, service in SERVICES.items()
}
"""RPCs that are cheap and without effect, by service: an RPC called Get... or List... must be."""

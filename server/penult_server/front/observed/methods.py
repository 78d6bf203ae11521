"""The methods of this server by their full names: what labels of metrics may be."""

from penult_proto.services import SERVICES

METHODS: dict[str, str] = {
    f"/{name}/{method.name}": f"{service.name}/{method.name}"
    for name, service in SERVICES.items()
    for method in service.methods
} | {
    "/grpc.health.v1.Health/Check": "Health/Check",
    "/grpc.health.v1.Health/Watch": "Health/Watch",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": "ServerReflection/ServerReflectionInfo",
}
"""From the full name to the label."""
ENDLESS = frozenset(
    {
        "InfoService/Attach",
        "JobService/WatchJob",
        "ProgressService/WatchQuery",
        "Health/Watch",
        "ServerReflection/ServerReflectionInfo",
    }
)
"""Methods that last as long as their caller likes: none of their calls is slow."""

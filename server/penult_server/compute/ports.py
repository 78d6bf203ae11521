"""Where the compute worker listens: at a private socket, or, on another machine, at a port for the front alone."""

import grpc

from penult_proto.v1.pipes_pb2 import ComputeOrder

PINGS = (("grpc.http2.min_ping_interval_without_data_ms", 5_000), ("grpc.http2.max_ping_strikes", 0))
"""Options of a server that lets the front ask whether its machine is still there, during calls that say nothing."""


def open_port(server: grpc.Server, order: ComputeOrder) -> str:
    """Listen as the order says; the address, with the port that the system gave, and of a socket nothing.

    Raises ValueError for a port without certificates, which anybody could call.
    """
    if not order.HasField("tls"):
        if not order.socket.startswith("unix:"):
            raise ValueError(f"a compute worker listens at a socket, or with certificates; got {order.socket!r}")
        server.add_insecure_port(order.socket)
        return ""
    tls = order.tls
    credentials = grpc.ssl_server_credentials(
        [(tls.key, tls.certificate)], root_certificates=tls.authority, require_client_auth=True
    )
    port = server.add_secure_port(order.socket, credentials)
    return f"{order.socket.rpartition(':')[0]}:{port}"

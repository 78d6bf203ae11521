"""The part of the client that says what the server is."""

from penult.connection.rpc import Connection
from penult.results.records import Info
from penult.wire import decode
from penult_proto.v1 import info_pb2


class About:
    """What the server is, can do and holds."""

    connection: Connection

    def info(self, *, timeout: float = 30.0) -> Info:
        """Version, device, limits and packaged backbones of the server, and how much it has stored.

        Parameters
        ----------
        timeout : seconds.
        """
        call = self.connection.stubs.info.GetInfo
        return decode.info(self.connection.unary(call, info_pb2.GetInfoRequest(), timeout=timeout))

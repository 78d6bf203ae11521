"""Arrays in pieces: how streams of them are framed, and how those of uploads pass by protobuf and gRPC."""

"""The gRPC services that the front answers or passes on: one module for each service of the protocol.

A method resolves names, has `queries` complete the request, and asks the registry, the queue or the compute worker.
"""

"""The process that clients talk to: one event loop, the registry, the queue. Never torch, never cupy."""

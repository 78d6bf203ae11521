"""Classes that stand for those of the synchronous client. Made by ``python -m penult.aio.generate``."""

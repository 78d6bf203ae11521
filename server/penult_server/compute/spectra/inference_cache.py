"""Inferences from replicates, kept for later queries about the same rows.

Replicates take most of a query's time and depend neither on `top_k` nor on `correction`: a script that looks at the
top 10 and then at the top 50 waits for them once.
"""

from collections import OrderedDict
from collections.abc import Callable

from penult_kernels.spectra.inference import ImbalanceInference
from penult_proto.v1 import spectra_pb2 as pb

CAPACITY = 1024
"""Queries remembered; each is a few numbers."""


class InferenceCache:
    """The inferences of the last queries, in the memory of one process; used by one thread at a time."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, list[ImbalanceInference]] = OrderedDict()

    def get(
        self, request: pb.ComputeSpectraRequest, compute: Callable[[], list[ImbalanceInference]]
    ) -> list[ImbalanceInference]:
        """The inferences of an equal query with any `top_k` and `correction`, computed if they are not known yet."""
        key = _key(request)
        if key not in self._known:
            self._known[key] = compute()
            if len(self._known) > CAPACITY:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]


def _key(request: pb.ComputeSpectraRequest) -> bytes:
    same = pb.ComputeSpectraRequest()
    same.CopyFrom(request)
    same.ClearField("top_k")
    same.ClearField("correction")
    return same.SerializeToString(deterministic=True)

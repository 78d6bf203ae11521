"""Feature sets as the JSON that the registry keeps. One with many groups takes seconds each way, so texts are kept in
memory as they are parsed, and made before the registry's thread is asked."""

import threading
from collections import OrderedDict

from google.protobuf.json_format import MessageToJson, Parse

from penult_proto.v1.features_pb2 import FeatureSet

LONG = 2**16
"""Characters from which a text is kept as it was parsed."""
MOST_KEPT = 64

_kept: OrderedDict[str, bytes] = OrderedDict()
_lock = threading.Lock()


def text_of(feature_set: FeatureSet) -> str:
    """The JSON of a feature set. May take long, in any thread."""
    text = MessageToJson(feature_set)
    _keep(text, feature_set)
    return text


def parsed(text: str) -> FeatureSet:
    """The feature set of a text."""
    with _lock:
        content = _kept.get(text)
        if content is not None:
            _kept.move_to_end(text)
    if content is not None:
        return FeatureSet.FromString(content)
    found = Parse(text, FeatureSet())
    _keep(text, found)
    return found


def _keep(text: str, feature_set: FeatureSet) -> None:
    if len(text) < LONG:
        return
    with _lock:
        _kept[text] = feature_set.SerializeToString()
        while len(_kept) > MOST_KEPT:
            _kept.popitem(last=False)

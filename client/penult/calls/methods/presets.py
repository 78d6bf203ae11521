"""The published methods that a refit can be asked for by name: ``client.presets()``, and their part of the help."""

from dataclasses import dataclass

from penult.calls.methods.named import NamedMethod, NamedMethods, said, with_list
from penult.wire.decode_refits import arguments_of
from penult_proto import presets as known


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PresetInfo(NamedMethod):
    """A method that `Client.refit` knows by name.

    ``.sets`` has the arguments of `Client.refit` that it stands for, except those that only you can give: `standardize`
    of dfr_2022, `other` of self_disagreement, and in `select` of dfr_train and afr what to select on.
    """


class Presets(NamedMethods[PresetInfo]):
    """Several of them, in the order of the documentation: ``client.presets()["dfr"]``."""

    __slots__ = ()


def presets() -> Presets:
    """All of them."""
    return Presets(
        PresetInfo(name=name, sentence=one.sentence, source=one.source, sets=arguments_of(one.request))
        for name, one in known.PRESETS.items()
    )


with_presets = with_list("presets", [said(name, one.sentence, one.source) for name, one in known.PRESETS.items()])
"""Put the list of presets in place of the line ``[presets]`` of a docstring."""

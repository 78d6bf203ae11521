"""What the client's code takes from its own `finetune`: part of ``penult_proto.generate``.

``wire/finetune_arguments.py`` has the arguments of a finetuning as a dictionary, ``results/finetune_spec.py`` the
record of what was used: both from the signature of `Client.finetune`.
"""

from pathlib import Path

from penult_proto.generate.client import BY_DOC, CARD, CLIENT, MADE, module, record, signature, typed_dict, write

ALWAYS_SAID = ("balance", "epochs", "seed")
"""Arguments that have an effect on every run."""
NOT_KEPT = (*CARD, "recipe")
"""Arguments that decide nothing about a run, and the one that stands for others."""
DOCS = {
    "by": BY_DOC,
    "pretrained": "None with a start.",
    "start": "Digest of a checkpoint or of a refit.",
    "repeat": "By the digest of the checkpoint.",
    "evaluate": "Empty for all.",
}
SPEC_DOC = """A finetuning recipe; the fields are the arguments of `Client.finetune`.

    What was left out has the server's default; what has no effect, such as the schedule of a run of no epochs, is None.
    """
METHOD = '''
    def arguments(self) -> dict[str, Any]:
        """The arguments of `Client.finetune` that ask for this again: ``client.finetune(**spec.arguments())``."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None and value != ()}'''


def spec_type(name: str, kind: str) -> str:
    """The type of an argument in the record of what was used."""
    if name in ("dataset", "backbone", "attribute"):
        return "str"
    if name == "by":
        return "str | None"
    bare = kind.removesuffix(" | None")
    if bare.startswith("Sequence["):
        return f"tuple[{bare.removeprefix('Sequence[').removesuffix(']')}, ...]"
    if name in ALWAYS_SAID:
        return bare
    return "str | None" if "str" in bare.split(" | ") else kind


def generate_finetuning(out: Path = CLIENT) -> None:
    """Write the modules into `out`, laid out as the client is."""
    kinds = {name: kind for name, kind in signature("calls/finetuning.py", "finetune").items() if name != "timeout"}
    doc = "The arguments of `Client.finetune`, as one request of `Client.finetunes`; None leaves one out."
    arguments = typed_dict("FinetuneArguments", doc, ((name, kind, "") for name, kind in kinds.items()))
    used = ((name, spec_type(name, kind), DOCS.get(name, "")) for name, kind in kinds.items() if name not in NOT_KEPT)
    spec = [*record("FinetuneSpec", SPEC_DOC, used), METHOD]
    doc = f"The arguments of a finetuning as a dictionary. {MADE}"
    write(out / "wire" / "finetune_arguments.py", module(doc, arguments))
    write(out / "results" / "finetune_spec.py", module(f"What a finetuning was asked for. {MADE}", spec))


if __name__ == "__main__":
    generate_finetuning()

"""Notes: sentences with an answer whose numbers alone could mislead."""


class Note(str):
    """A sentence about an answer, with the stable word that says which kind it is.

    ``print(note)`` shows the sentence; ``note.id`` is one of `penult_proto.notes.NoteId`, such as
    ``"predicts_one_class"``, for scripts that look for a kind.
    """

    __slots__ = ("id",)

    id: str

    def __new__(cls, text: str, id: str) -> "Note":
        note = super().__new__(cls, text)
        note.id = id
        return note

    def __reduce__(self) -> tuple[type["Note"], tuple[str, str]]:
        """Notes survive pickling and copying."""
        return Note, (str(self), self.id)


Notes = tuple[Note, ...]


def lines(notes: Notes) -> str:
    """One line for each note, to stand below an answer; empty without any."""
    return "".join(f"\n  note: {' '.join(note.split())}" for note in notes)


def ids(notes: Notes) -> str:
    """Which kinds of notes there are, for one cell of a table."""
    return ", ".join(dict.fromkeys(note.id for note in notes))

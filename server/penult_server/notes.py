"""Notes: sentences with an answer whose numbers alone could mislead."""

from collections.abc import Iterable
from dataclasses import dataclass

from penult_proto.notes import NoteId
from penult_proto.v1 import notes_pb2


@dataclass(frozen=True, slots=True)
class Note:
    """One sentence, and which kind it is."""

    id: NoteId
    text: str


def notes_from_proto(notes: Iterable[notes_pb2.Note]) -> tuple[Note, ...]:
    """The notes of a message that this service has written."""
    return tuple(Note(NoteId(note.id), note.text) for note in notes)


def notes_to_proto(notes: Iterable[Note]) -> list[notes_pb2.Note]:
    """Each once, in the order in which they first came."""
    return [notes_pb2.Note(id=note.id, text=note.text) for note in dict.fromkeys(notes)]

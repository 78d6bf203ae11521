"""What a request says of the thing it makes: checked names, tags and notes, and who sent it."""

from collections.abc import Collection
from urllib.parse import unquote

from penult_proto.errors import ErrorKind
from penult_proto.v1.cards_pb2 import Card
from penult_server.errors import ServiceError
from penult_server.finetuning.checks import check_whole
from penult_server.front.caller import CALLER
from penult_server.front.guard import Context
from penult_server.front.queries.specs import check_name
from penult_server.front.users.rules import check_may_describe
from penult_server.registry.cards import MOST_TAGS, Given

USER_KEY = "penult-user"
"""Metadata that says who asks: percent-encoded UTF-8. It is recorded as told, for people to find their things by."""
MOST_USER = 64
MOST_TAG = 63
MOST_NOTE = 4096
DEFAULT_PAGE, LONGEST_PAGE = 100, 1000


def user_of(context: Context) -> str:
    """Whose the call is: the token's user; of the owner's token whom the client names, in what can be printed."""
    caller = CALLER.get()
    if not caller.is_owner:
        return caller.user
    said = dict(context.invocation_metadata() or ()).get(USER_KEY, "")
    user = unquote(said if isinstance(said, str) else said.decode(errors="replace"))
    return "".join(one for one in user if one.isprintable())[:MOST_USER]


def given_of(card: Card, context: Context, what: str) -> Given:
    """What a request says of a thing, called `what` in messages.

    Raises ServiceError (INVALID_ARGUMENT).
    """
    if card.user or card.HasField("created"):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"user and created of a card are the server's to say; who asks is told by the metadata {USER_KEY!r}",
            field="card",
        )
    check_may_describe(card)
    return checked(what, user=user_of(context), name=card.name, tags=card.tags, note=card.note)


def checked(what: str, *, user: str = "", name: str = "", tags: Collection[str] = (), note: str = "") -> Given:
    """The same. Raises ServiceError (INVALID_ARGUMENT) for what cannot be a name, tags or a note."""
    if name:
        check_name(name, what)
    if len(tags) > MOST_TAGS:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, f"a thing has at most {MOST_TAGS} tags, got {len(tags)}", field="tags"
        )
    for tag in tags:
        if not tag.isprintable() or tag != tag.strip() or not 1 <= len(tag) <= MOST_TAG:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"a tag has 1 to {MOST_TAG} printable characters, no space at either end; got {tag[:80]!r}",
                field="tags",
            )
    if len(note) > MOST_NOTE:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"a note has at most {MOST_NOTE} characters, got {len(note)}: keep a longer one in a file",
            field="note",
        )
    return Given(user=user, name=name, tags=tuple(tags), note=note)


def page_length(asked: int | None, most: int = LONGEST_PAGE) -> int:
    """Things on a page. Raises ServiceError (INVALID_ARGUMENT)."""
    length = DEFAULT_PAGE if asked is None else asked
    check_whole("limit", length, 1, most)
    return min(length, LONGEST_PAGE)

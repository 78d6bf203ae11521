"""Checks of requests for every service: bytes that are a message, choices that this server knows."""

from collections.abc import AsyncIterator, Callable
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor
from google.protobuf.message import DecodeError, Message

from penult_proto.errors import ErrorKind
from penult_proto.pieces.uploads import Piece, read_piece
from penult_proto.v1 import features_pb2
from penult_server.errors import ServiceError
from penult_server.front.admission.bounds import check_bounds


def decoder(decode: Callable[[bytes], Message]) -> Callable[[bytes], Message | Piece | ServiceError]:
    """`decode`, whose failures are returned: gRPC answers INTERNAL by itself where decoding raises.

    A request that lists too much is refused before it is decoded. Pieces of uploads stay the bytes that came.
    """
    is_upload = decode.__self__ is features_pb2.UploadFeaturesRequest  # pyright: ignore[reportFunctionMemberAccess]
    descriptor: Any = decode.__self__.DESCRIPTOR  # pyright: ignore[reportFunctionMemberAccess]

    def decode_or_refuse(content: bytes) -> Message | Piece | ServiceError:
        try:
            if is_upload and (piece := read_piece(content)):
                return piece
            check_bounds(content, descriptor)
            return decode(content)
        except ServiceError as error:
            return error
        except DecodeError as error:
            return ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"the request is no message of this protocol ({error}); strings must be UTF-8",
            )

    return decode_or_refuse


def checked(request: Message | Piece | ServiceError) -> Any:
    """The same request. Raises ServiceError (INVALID_ARGUMENT) for one that is no message or names unknown choices."""
    if isinstance(request, ServiceError):
        raise request
    if not isinstance(request, Piece):
        check_choices(request)
    return request


async def checked_stream(requests: AsyncIterator[Message | Piece | ServiceError]) -> AsyncIterator[Message | Piece]:
    """The same requests, each as `checked`."""
    async for request in requests:
        yield checked(request)


def check_choices(message: Message) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) where an enumeration has a number that this server does not know.

    Protobuf keeps such numbers, and code that looks one up would fail.
    """
    if not _has_choices(message.DESCRIPTOR):
        return
    for field, value in message.ListFields():
        if field.enum_type is not None:
            for number in [value] if isinstance(value, int) else value:
                _check_number(field.name, field.enum_type, number)
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for inner in [value] if isinstance(value, Message) else value:
                check_choices(inner)


@cache
def _has_choices(descriptor: Descriptor) -> bool:
    """Whether a message can hold a choice; pieces of arrays cannot, and to look into one would copy it.

    No message of the protocol holds one of its own type.
    """
    return any(
        field.enum_type is not None or (field.message_type is not None and _has_choices(field.message_type))
        for field in descriptor.fields
    )


def _check_number(field: str, choices: EnumDescriptor, number: int) -> None:
    known = choices.values_by_number
    if number not in known:
        listed = ", ".join(f"{one} ({known[one].name})" for one in sorted(known))
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{field} must be a number that this server knows, got {number}; one of {listed}",
            field=field,
        )

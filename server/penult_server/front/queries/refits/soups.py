"""Requests to make one head of several: checked, the default filled in."""

import math

from penult_proto.errors import ErrorKind
from penult_proto.v1 import refits_pb2 as pb
from penult_server.errors import ServiceError


def complete_soup(request: pb.SoupHeadsRequest) -> None:
    """In place. Raises ServiceError (INVALID_ARGUMENT) without a head, and for what has no effect."""
    if not request.heads:
        raise _invalid("there is no head to make a soup of: give at least one", "heads")
    request.rule = request.rule or pb.HEAD_SOUP_RULE_UNIFORM
    if request.rule not in pb.HeadSoupRule.values():
        raise _invalid(f"weights must be a rule that is known, got number {request.rule}", "weights")
    if request.by_group and request.rule != pb.HEAD_SOUP_RULE_LEARNED:
        raise _invalid("by_group has no effect without weights='learned'; leave it out", "by_group")
    if request.margin and request.rule != pb.HEAD_SOUP_RULE_GREEDY:
        raise _invalid("margin has no effect without weights='greedy'; leave it out", "margin")
    if not 0 <= request.margin < math.inf:
        raise _invalid(f"margin must be at least 0, got {request.margin!r}", "margin")
    if request.head_groups and request.rule != pb.HEAD_SOUP_RULE_MOMENTS:
        raise _invalid("groups have no effect without weights='moments'; leave them out", "groups")


def _invalid(text: str, field: str) -> ServiceError:
    return ServiceError(ErrorKind.INVALID_ARGUMENT, text, field=field, argument=field)

"""The kinds of notes that answers carry; the identifiers are stable, the sentences may change."""

from enum import StrEnum


class NoteId(StrEnum):
    """What a note is about."""

    ABSENT_CLASS = "absent_class"
    """A class has no row among those that are fitted, and its head has learned from the others alone."""
    ABSENT_GROUPS = "absent_groups"
    """Balancing by group left out groups without a row."""
    ACROSS_CHECKPOINTS = "across_checkpoints"
    """A head was applied to features of another checkpoint."""
    CLASSES_MAPPED = "classes_mapped"
    """Classes were matched by a mapping, or put in another order by their names."""
    CLASSES_BY_COUNT = "classes_by_count"
    """Classes without names were matched by their index."""
    CLASSES_FROM_LABELS = "classes_from_labels"
    """Labels that were no indices were sorted and became the classes."""
    FAILED_CANDIDATES = "failed_candidates"
    """Some candidates of a grid could not be fitted."""
    GROUPS_ARE_CLASSES = "groups_are_classes"
    """A choice by groups was made on a set without an attribute, whose groups are its classes."""
    INTERCEPT_OF_CENTER = "intercept_of_center"
    """The bias is that of the center, since none is fitted."""
    NOT_CONVERGED = "not_converged"
    """A solver stopped before its tolerance was met."""
    PREDICTS_ONE_CLASS = "predicts_one_class"
    """A head predicts one class for every row."""
    SPLITS_GUESSED = "splits_guessed"
    """A column of 0, 1 and 2 was read as train, val and test."""
    UNLIKE_PUBLISHED = "unlike_published"
    """A copy of a dataset differs from the published one, such as in its group counts."""

"""One spelling of values that files of different kinds write differently: booleans, and numbers without a fraction.

pandas writes True to a CSV file, Arrow reads true from a Parquet file, a spreadsheet says TRUE; and a column of whole
numbers that once had a gap is 1.0 in the one file and 1 in the other. A column of such values alone is respelled, whole
or not at all: "true" and "false", "1" and "0". A single 1.0 among names stays what it is, and so do 0 and 1, which are
numbers.
"""

import re
from collections.abc import Sequence

_BOOLEANS = ("false", "true")
_WHOLE = re.compile(r"([+-]?[0-9]{1,18})(\.0*)?")


def canonical(values: Sequence[str]) -> tuple[str, ...]:
    """The different values of a column, each in the spelling that all files share; two may become one."""
    lower = tuple(value.lower() for value in values)
    if all(value in _BOOLEANS for value in lower):
        return lower
    matches = [_WHOLE.fullmatch(value) for value in values]
    if all(matches):
        # What has no fraction stays as it was written: 01 is another name than 1.
        return tuple(str(int(one[1])) if one[2] else one[1] for one in matches if one)
    return tuple(values)

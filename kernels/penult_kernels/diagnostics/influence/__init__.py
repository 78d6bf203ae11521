"""What each row that a head was fitted on does to the head's losses elsewhere, by one Newton step without the row.

`removal.influence` answers for problems of `linear.problem` and their optima; `check` removes rows by real refits.
"""

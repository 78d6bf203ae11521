"""Arguments: what a caller passes becomes what is meant, or is refused by the name of its argument.

`coerce` for single values, `coerce_arrays` for arrays, `labels` for classes and attributes; `instead` says what to pass
in place of a record of another sort. Knows neither records nor messages.
"""

"""What each row that a head was fitted on does to the head's losses elsewhere.

`fitted.Fitted` is problems of `linear.problem` with their optima; `removal.influence` takes one Newton step without
each row, `singles.head_moves` finds the optimum without each of some rows, and `targets.mean_changes` what losses
become. `without` makes the problems without rows, for real refits.
"""

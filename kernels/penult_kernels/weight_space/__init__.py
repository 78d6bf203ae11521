"""Networks as points in the space of their weights: rules that merge several into one, a slice at a time.

`piece` says what a rule sees and must have, `registry` lists the rules, `streaming` gives a rule its slices in the
order that it needs, `blocks` says to which part of a network a tensor belongs.
"""

"""What is stored: a group of commands for each kind, which lists it, shows one, names it and deletes it.

`collections` makes what all groups have in common, `filters` says which things a list holds; the other modules are the
groups, with what only their kind can.
"""

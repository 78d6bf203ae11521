"""What the page shows, a function for each address. Pages read what is stored, and compute nothing.

`jobs` and `job` are live; `runs`, `answers` (spectra, refits, diagnostics and every other stored answer), `groups`
(groupings, pictures), `neighbours`, `merges`, `compare`, `store` and `server` read, `deleting` asks before `actions`
delete. What they have in common stands in `parts`, how a thing is asked for again in `repeating`.
"""

"""What the page shows, a function for each address. Pages read what is stored, and compute nothing.

`jobs` are live; `runs`, `answers` (spectra, refits, diagnostics and every other stored answer), `groups` (groupings,
neighbours, pictures), `merges`, `compare` and `store` read. What they have in common stands in `parts`.
"""

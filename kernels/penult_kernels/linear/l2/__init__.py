"""Problems with an l2 penalty or none: quick methods for many blocks at once, certified by Newton-CG.

`choose` is the table of which method solves what; `solver` follows it. A quick method leaves warm starts, and
`newton_cg` certifies every answer.
"""

"""Problems with an l2 penalty or none: quick methods for many blocks at once, certified by Newton-CG.

`choose` decides which method solves a block; `solver` does it. The quick methods give warm starts, from which
`newton_cg` computes and certifies every answer.
"""

"""Problems with an l1 penalty, on the host: primal-dual active sets for binary blocks, else proximal Newton.

`solver` chooses; `dual` has the dual value, the gap and the subgradient; `columns` holds columns of the features for
all problems.
"""

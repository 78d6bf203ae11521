"""Problems with an l1 penalty, on the host: binary blocks by primal-dual active sets, else proximal Newton.

Draws of many rows go by steps with a curvature that they share (`shared_curvature`, `draw_state`, `sweeps`). `solver`
chooses; `dual` has the dual value, the gap and the subgradient; `columns` holds columns of the features for all
problems.
"""

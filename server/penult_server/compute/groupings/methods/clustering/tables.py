"""The methods that cluster, by name, and their rules, by kind."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_server.compute.groupings.found import Found, Inputs, Integers, Rows
from penult_server.compute.groupings.methods.clustering import clusters, domino, facts, george, gmm, models

Assign = Callable[[Mapping[str, NDArray[Any]], Rows], tuple[Integers, NDArray[np.float32] | None]]

FINDERS: dict[str, Callable[[Inputs], Found]] = {
    "domino": domino.find,
    "facts": facts.find,
    "george": george.find,
    "gmm": gmm.find,
    "kmeans": clusters.find,
    "spare": clusters.find_spare,
}
"""By the name of the method in `METHODS`."""
RULES: dict[str, Assign] = {
    clusters.RULE: models.assign,
    domino.RULE: domino.assign,
    facts.RULE: facts.assign,
    gmm.RULE: models.assign,
}
"""What assigns other rows, by the kind of rule that `Found.rule` names."""

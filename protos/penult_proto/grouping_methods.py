"""Methods that find groups, as data: the server checks and completes questions by them, the client explains them.

To add one: a line here, its module in ``penult_server/compute/groupings/methods/``, a test of its right value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MethodNumber:
    """A number of a method: what it is when nothing is said, and the range it must lie in, ends included."""

    default: float
    low: float
    high: float
    is_integer: bool = False
    meaning: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupingMethod:
    """One published way to find groups without labels, or with few."""

    name: str
    sentence: str
    source: str
    numbers: dict[str, MethodNumber] = field(default_factory=dict)
    words: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Words by name: the allowed ones, the default first; empty where any is allowed."""
    needs_features: bool = True
    """Whether it looks at features: they are not read into memory for one that does not."""
    takes_fit: bool = True
    """Whether the set that is fitted on may be another than the one that is grouped."""
    takes_other: bool = False
    """Whether there may be a set to compare with; one that needs an attribute takes it, too."""
    needs_logits: bool = False
    """Whether the rows, or a head that is given, must have logits."""
    takes_head: bool = False
    """Whether a head may be given; one that needs logits takes it, too."""
    head_with: tuple[str, str] | None = None
    """The word, and its value, with which alone a head that is given is looked at."""

    def looks_at_head(self, words: Mapping[str, str]) -> bool:
        """Whether a head that is given has an effect beside these words; those left out are the defaults."""
        if self.head_with is None:
            return self.needs_logits or self.takes_head
        word, value = self.head_with
        return words.get(word, self.words[word][0]) == value

    needs_attribute: bool = False
    """Whether `other` must have an attribute."""
    takes_indices: bool = False
    """Whether `indices` say something to it."""
    is_random: bool = False
    """Whether the seed matters."""


METHODS: dict[str, GroupingMethod] = {}
"""Methods by name."""


def _add(method: GroupingMethod) -> None:
    METHODS[method.name] = method


_add(
    GroupingMethod(
        name="attribute",
        sentence="the values of an attribute column of the set",
        source="the data's own",
        words={"attribute": ()},
        needs_features=False,
        takes_fit=False,
    )
)
_add(
    GroupingMethod(
        name="uploaded",
        sentence="values that the caller gives for row ids",
        source="the caller",
        words={"attribute": ()},
        needs_features=False,
        takes_fit=False,
    )
)
_add(
    GroupingMethod(
        name="errors",
        sentence="rows that a head misclassifies: the one given, or that of the stored logits",
        source="JTT, Liu et al. 2021 (arXiv 2107.09044)",
        needs_logits=True,
        takes_fit=False,
    )
)
_add(
    GroupingMethod(
        name="regularised_errors",
        sentence="rows that a head with a strong l2 misclassifies, fitted on `fit`",
        source="FACTS' first stage, Yenamandra et al. 2023 (arXiv 2309.17430), as a convex problem",
        numbers={"l2": MethodNumber(default=1.0, low=1e-6, high=1e6, meaning="strength of l2 beside the mean loss")},
        words={"balance": ("class", "none"), "standardize": ("rows", "none")},
    )
)
_add(
    GroupingMethod(
        name="eiil",
        sentence="environments that violate invariance most, in closed form; with two classes the errors",
        source="Creager et al. 2021 (arXiv 2010.07249)",
        needs_logits=True,
        takes_fit=False,
    )
)
_add(
    GroupingMethod(
        name="predictions",
        sentence="class x predicted class of a head: the one given, or that of the stored logits",
        source="Correct-N-Contrast, Zhang et al. 2022 (arXiv 2203.01517)",
        needs_logits=True,
        takes_fit=False,
    )
)
_add(
    GroupingMethod(
        name="xrm",
        sentence="rows that either of two heads misses, which unlearn what the other finds easy: the majority of seeds",
        source="XRM, Pezeshki et al. 2023 (arXiv 2309.16748)",
        numbers={
            "seeds": MethodNumber(default=10, low=1, high=1000, is_integer=True, meaning="pairs of heads that vote"),
            "steps": MethodNumber(default=3000, low=1, high=1_000_000, is_integer=True, meaning="full-batch steps"),
            "learning_rate": MethodNumber(default=1e-2, low=1e-8, high=1e3, meaning="of gradient descent"),
        },
        is_random=True,
    )
)
_add(
    GroupingMethod(
        name="ssa",
        sentence="the attribute of `other`, spread by heads and pseudo-labels, fold by fold",
        source="SSA, Nam et al. 2022 (arXiv 2204.02070), heads in place of a network",
        numbers={
            "folds": MethodNumber(default=3, low=2, high=100, is_integer=True, meaning="folds of the rows"),
            "rounds": MethodNumber(default=5, low=0, high=100, is_integer=True, meaning="rounds of pseudo-labels"),
            "tau": MethodNumber(default=0.95, low=0, high=1, meaning="probability from which a row is pseudo-labelled"),
            "l2": MethodNumber(default=5e-4, low=1e-9, high=1e6, meaning="strength of l2 beside the mean losses"),
        },
        needs_attribute=True,
        is_random=True,
    )
)
_add(
    GroupingMethod(
        name="gic",
        sentence="a value that predicts the class here, and in another way in the comparison set `other`",
        source="ours, after GIC, Han & Zou 2024 (arXiv 2404.13815)",
        numbers={
            "values": MethodNumber(default=2, low=2, high=20, is_integer=True, meaning="values of a row"),
            "gamma": MethodNumber(default=1.0, low=0, high=1e3, meaning="weight of the divergence"),
            "l2": MethodNumber(default=1e-3, low=0, high=1e6, meaning="strength of l2"),
            "learning_rate": MethodNumber(default=0.05, low=1e-8, high=1e2, meaning="of Adam"),
            "steps": MethodNumber(default=300, low=1, high=100_000, is_integer=True, meaning="full-batch steps"),
            "starts": MethodNumber(default=8, low=1, high=1000, is_integer=True, meaning="random heads to start from"),
        },
        is_random=True,
        takes_other=True,
    )
)
_add(
    GroupingMethod(
        name="spuriosity",
        sentence="low and high ends of each class by the mean z-score of chosen features (`indices`), or of those that "
        "a head, `head` or one fitted on `fit`, gives most to the class",
        source="Moayeri et al. 2022 (arXiv 2212.02648)",
        numbers={
            "quantile": MethodNumber(default=0.5, low=1e-6, high=0.5, meaning="share of a class in each end"),
            "features": MethodNumber(
                default=5, low=1, high=1024, is_integer=True, meaning="features a class, unchosen"
            ),
            "top": MethodNumber(default=100, low=1, high=1e9, is_integer=True, meaning="rows in each end of the gap"),
        },
        takes_head=True,
        takes_indices=True,
    )
)
_add(
    GroupingMethod(
        name="units",
        sentence="above or below a quantile of chosen features (`indices`) within the class; several are crossed",
        source="after Salient ImageNet, Singla & Feizi 2022 (arXiv 2110.04301)",
        numbers={"quantile": MethodNumber(default=0.5, low=0, high=1, meaning="quantile of a feature in a class")},
        takes_indices=True,
    )
)
_STARTS = "runs from starts of their own, of which the best is taken"
_add(
    GroupingMethod(
        name="kmeans",
        sentence="k-means within each class; cluster 0 is the largest",
        source="Lloyd 1982, with the starts of Arthur & Vassilvitskii 2007",
        numbers={
            "k": MethodNumber(default=2, low=2, high=64, is_integer=True, meaning="clusters of each class"),
            "starts": MethodNumber(default=10, low=1, high=100, is_integer=True, meaning=_STARTS),
            "components": MethodNumber(
                default=0, low=0, high=512, is_integer=True, meaning="principal axes of each class; 0 for the features"
            ),
        },
        words={"on": ("features", "logits")},
        is_random=True,
        takes_head=True,
        head_with=("on", "logits"),
    )
)
_add(
    GroupingMethod(
        name="spare",
        sentence="k-means on the logits of each class, meant for an early epoch; as many clusters as fit best",
        source="SPARE, Yang et al. 2023 (arXiv 2305.18761)",
        numbers={
            "max_k": MethodNumber(
                default=8,
                low=2,
                high=64,
                is_integer=True,
                meaning="the most clusters that are tried, one for 25 rows of a class at most",
            ),
            "starts": MethodNumber(default=10, low=1, high=100, is_integer=True, meaning=_STARTS),
            "threshold": MethodNumber(
                default=0.9, low=-1, high=1, meaning="mean silhouette below which small clusters are sampled by `power`"
            ),
            "power": MethodNumber(
                default=2, low=0, high=10, meaning="p of the sampling by 1 / n^p, a score; above the threshold it is 1"
            ),
        },
        needs_logits=True,
        is_random=True,
    )
)
_add(
    GroupingMethod(
        name="george",
        sentence="clusters of each class by silhouette, and the parts of them that are separate and have a higher loss",
        source="GEORGE, Sohoni et al. 2020 (arXiv 2011.12945)",
        numbers={
            "components": MethodNumber(
                default=2, low=1, high=512, is_integer=True, meaning="dimensions that features are reduced to"
            ),
            "max_k": MethodNumber(
                default=10,
                low=2,
                high=64,
                is_integer=True,
                meaning="the most clusters that are tried, one for 25 rows of a class at most",
            ),
            "starts": MethodNumber(default=3, low=1, high=100, is_integer=True, meaning=_STARTS),
            "overcluster": MethodNumber(
                default=5, low=1, high=20, is_integer=True, meaning="parts that each cluster is cut into; 1 for none"
            ),
            "min_share": MethodNumber(
                default=0.005, low=0, high=1, meaning="share of its class that a part must have to be kept"
            ),
            "min_rows": MethodNumber(
                default=25,
                low=1,
                high=1e6,
                is_integer=True,
                meaning="rows that a part must have, among those fitted and among those grouped",
            ),
        },
        words={"reduction": ("pca", "umap", "hardness", "none"), "model": ("kmeans", "gmm")},
        needs_logits=True,
        is_random=True,
    )
)
_add(
    GroupingMethod(
        name="gmm",
        sentence="a Gaussian mixture along the principal axes of each class; cluster 0 is the largest",
        source="Dempster, Laird & Rubin 1977",
        numbers={
            "components": MethodNumber(
                default=2, low=1, high=32, is_integer=True, meaning="principal axes of each class"
            ),
            "k": MethodNumber(default=2, low=2, high=64, is_integer=True, meaning="clusters, where `choose` is k"),
            "max_k": MethodNumber(
                default=10,
                low=2,
                high=64,
                is_integer=True,
                meaning="the most that are tried, one for 25 rows of a class, where it is not",
            ),
            "starts": MethodNumber(default=3, low=1, high=100, is_integer=True, meaning=_STARTS),
        },
        words={"choose": ("k", "bic", "silhouette")},
        is_random=True,
    )
)
_add(
    GroupingMethod(
        name="domino",
        sentence="a mixture of features, labels and predictions; its components that err most, and the rest",
        source="Domino, Eyuboglu et al. 2022 (arXiv 2203.14960)",
        numbers={
            "axes": MethodNumber(default=128, low=1, high=1024, is_integer=True, meaning="principal axes of all rows"),
            "components": MethodNumber(
                default=25, low=2, high=256, is_integer=True, meaning="components of the mixture"
            ),
            "slices": MethodNumber(
                default=5, low=1, high=64, is_integer=True, meaning="components that become groups: those that err most"
            ),
            "label_weight": MethodNumber(default=1, low=0, high=1000, meaning="exponent of the labels' likelihood"),
            "prediction_weight": MethodNumber(
                default=1, low=0, high=1000, meaning="exponent of the predictions' likelihood"
            ),
            "noise": MethodNumber(
                default=1e-3, low=1e-6, high=1, meaning="added to responsibilities that begin as the confusion matrix"
            ),
            "min_rows": MethodNumber(
                default=10, low=1, high=1e6, is_integer=True, meaning="rows of a class that a slice must have"
            ),
            "max_iterations": MethodNumber(
                default=100, low=1, high=10000, is_integer=True, meaning="rounds of the fit at most"
            ),
        },
        words={"start": ("confusion", "kmeans")},
        needs_logits=True,
        is_random=True,
    )
)
_add(
    GroupingMethod(
        name="facts",
        sentence="a mixture of the features of each class and the probabilities of a head with a strong l2",
        source="FACTS, Yenamandra et al. 2023 (arXiv 2309.17430)",
        numbers={
            "axes": MethodNumber(
                default=128, low=1, high=1024, is_integer=True, meaning="principal axes of each class"
            ),
            "components": MethodNumber(
                default=0, low=0, high=64, is_integer=True, meaning="components of a class; 0 for as many as classes"
            ),
            "prediction_weight": MethodNumber(
                default=25,
                low=0,
                high=10000,
                meaning="exponent of the probabilities' likelihood, 25 as published; nearer 1, small groups stay apart",
            ),
            "prediction_floor": MethodNumber(
                default=1e-3, low=1e-8, high=1, meaning="added to the variances of probabilities"
            ),
            "tolerance": MethodNumber(
                default=1e-7, low=0, high=1, meaning="change of the mean log-density at which the fit ends"
            ),
            "max_iterations": MethodNumber(
                default=1000, low=1, high=10000, is_integer=True, meaning="rounds of the fit at most"
            ),
            "l2": MethodNumber(
                default=1.0, low=1e-6, high=1e6, meaning="strength of the head's l2 beside the mean loss"
            ),
        },
        words={
            "predictions": ("fitted", "given"),
            "start": ("predictions", "kmeans"),
            "balance": ("class", "none"),
            "standardize": ("rows", "none"),
        },
        is_random=True,
        takes_head=True,
        head_with=("predictions", "given"),
    )
)

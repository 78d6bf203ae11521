"""What the numbers of a report mean, for who reads it without the page."""

DEFINITIONS = (
    ("group", "class y and attribute value a together, g = y * (number of values) + a."),
    (
        "accuracy",
        "correct predictions / n of the group; in brackets its 95 % Wilson score interval; an empty group has none.",
    ),
    ("average", "correct predictions over all examples / all examples."),
    (
        "worst group",
        "the smallest accuracy of the groups that are not empty; its interval ignores that it was selected.",
    ),
    (
        "eigenvalues",
        "of the covariance of the features of a group, descending, divisor as stated; LaBonte et al. 2024, section 5.",
    ),
    (
        "imbalance",
        "largest eigenvalue of the minority / that of the majority within a class. At equal n: the majority is "
        "subsampled to the minority's size, since a small sample alone raises the ratio. "
        "Interval and p as stated; adjusted p: Holm 1979.",
    ),
    ("certificate", "a bound on how far the objective of a refit is above its minimum."),
    ("DFR", "a last layer refitted on group-balanced held-out features; Kirichenko et al. 2023."),
)

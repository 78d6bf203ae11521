"""Published last-layer procedures in NumPy, SciPy and torch, in float64, from their papers and scripts."""

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from torch.nn.functional import cross_entropy


def worst_group(predicted, y, a) -> float:
    return min(float((predicted == y)[(y == k) & (a == b)].mean()) for k in (0, 1) for b in (0, 1))


def minimised(x, y, l2: float, *, weight=None, offset=0.0):
    """sum s CE(W z + b + o) + l2/2 |W|^2 on standardised rows, by quasi-Newton steps; gives logits less offset."""
    mean, scale = x.mean(axis=0), x.std(axis=0)
    z, share = (x - mean) / scale, np.full(len(y), 1 / len(y)) if weight is None else weight / weight.sum()
    hot = np.eye(2)[y]

    def loss(flat):
        head = flat.reshape(2, -1)
        logits = z @ head[:, :-1].T + head[:, -1] + offset
        residual = share[:, None] * (softmax(logits, axis=1) - hot)
        gradient = np.column_stack([residual.T @ z + l2 * head[:, :-1], residual.sum(axis=0)])
        value = -(share * log_softmax(logits, axis=1)[np.arange(len(y)), y]).sum()
        return value + l2 / 2 * (head[:, :-1] ** 2).sum(), gradient.ravel()

    start = np.zeros(2 * (x.shape[1] + 1))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-16, "gtol": 1e-10})
    head = found.x.reshape(2, -1)
    return lambda rows: (rows - mean) / scale @ head[:, :-1].T + head[:, -1]


def sgd(
    x,
    y,
    batches,
    *,
    rate: float,
    momentum: float = 0.0,
    decay: float = 0.0,
    start=None,
    share=None,
    adamw=False,
    l1=0.0,
    anneal_every=0,
):
    """A linear layer trained by torch on the minibatches given; weight and bias after the last.

    The rate falls to zero along a cosine, once every `anneal_every` minibatches where that is given.
    """
    layer = torch.nn.Linear(x.shape[1], 2, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.zeros(2, x.shape[1]) if start is None else torch.tensor(start[0]))
        layer.bias.copy_(torch.zeros(2) if start is None else torch.tensor(start[1]))
    if adamw:
        optimizer = torch.optim.AdamW(layer.parameters(), lr=rate, weight_decay=decay)
    else:
        optimizer = torch.optim.SGD(layer.parameters(), lr=rate, momentum=momentum, weight_decay=decay)
    x, y = torch.tensor(x), torch.tensor(y)
    share = torch.ones(len(y), dtype=torch.float64) if share is None else torch.tensor(share)
    epochs = len(batches) // anneal_every if anneal_every else 1
    annealing = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for number, batch in enumerate(batches, 1):
        rows = torch.as_tensor(batch)
        loss = (share[rows] * cross_entropy(layer(x[rows]), y[rows], reduction="none")).mean()
        loss = loss + l1 * layer.weight.abs().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if anneal_every and number % anneal_every == 0:
            annealing.step()
    return layer.weight.detach().numpy(), layer.bias.detach().numpy()


def draws(labels, size: int, steps: int, seed: int):
    """Minibatches drawn with replacement, every label as likely."""
    rng = np.random.default_rng(seed)
    chance = 1 / np.bincount(labels)[labels]
    return [rng.choice(len(labels), size=size, p=chance / chance.sum()) for _ in range(steps)]


def epochs(n: int, size: int, steps: int, seed: int):
    """Minibatches of shuffled epochs; the last of an epoch may be smaller."""
    rng, batches = np.random.default_rng(seed), []
    while len(batches) < steps:
        order = rng.permutation(n)
        batches += [order[first : first + size] for first in range(0, n, size)]
    return batches[:steps]


def afr(train, val, erm, gammas, lambdas, *, rate: float, steps: int):
    """Stage 2 of AFR for every gamma and lambda by autograd.

    mu ~ exp(-gamma p) / n_y, loss + lambda |theta - theta_0|^2 without a half and with the bias, gradients clipped to
    norm 1, the first best iterate by worst group of val.

    Yields, in the order of the grid, score, step and theta (2, D + 1).
    """
    (x, y, _), (val_x, val_y, val_a) = train, val
    ones = torch.tensor(np.column_stack([x, np.ones(len(x))]))
    seen = torch.tensor(np.column_stack([val_x, np.ones(len(val_x))]))
    first = torch.tensor(np.column_stack(erm))
    labels = torch.tensor(y)
    p = torch.softmax(ones @ first.T, dim=1)[torch.arange(len(y)), labels]
    settings = [(gamma, lam) for gamma in gammas for lam in lambdas]
    mu = torch.stack([torch.exp(-gamma * p) / torch.bincount(labels)[labels] for gamma, _ in settings])
    mu = mu / mu.sum(dim=1, keepdim=True)
    lam = torch.tensor([lam for _, lam in settings], dtype=torch.float64)
    theta = first.repeat(len(settings), 1, 1).requires_grad_()
    best, reached, kept = np.full(len(settings), -1.0), np.zeros(len(settings), int), theta.detach().clone()
    groups = [torch.tensor((val_y == k) & (val_a == b)) for k in (0, 1) for b in (0, 1)]
    for step in range(1, steps + 1):
        logits = torch.einsum("nd,pcd->pnc", ones, theta)
        losses = cross_entropy(logits.flatten(0, 1), labels.repeat(len(settings)), reduction="none")
        penalty = lam * ((theta - first) ** 2).sum(dim=(1, 2))
        (gradient,) = torch.autograd.grad(((mu * losses.view(len(settings), -1)).sum(dim=1) + penalty).sum(), theta)
        norm = gradient.flatten(1).norm(dim=1)
        factor = torch.clamp(1.0 / (norm + 1e-6), max=1.0)[:, None, None]
        theta = (theta - rate * factor * gradient).detach().requires_grad_()
        right = torch.einsum("nd,pcd->pnc", seen, theta).argmax(dim=2) == torch.tensor(val_y)
        score = torch.stack([right[:, group].double().mean(dim=1) for group in groups]).min(dim=0).values.numpy()
        better = score > best
        best, reached = np.where(better, score, best), np.where(better, step, reached)
        kept[torch.tensor(better)] = theta.detach()[torch.tensor(better)]
    return list(zip(best, reached, kept.numpy(), strict=True))


def worst_risk(x, y, groups, l2: float) -> float:
    """min over heads of the largest mean loss of a group + l2/2 |W|^2, as a constrained programme (SLSQP)."""
    mean, scale = x.mean(axis=0), x.std(axis=0)
    z = np.column_stack([(x - mean) / scale, np.ones(len(x))])
    sign = 2.0 * y - 1
    # W of two classes is symmetric: |W|^2 = |w|^2 / 2 of the difference w.
    half = l2 / 4
    rows = [groups == k for k in np.unique(groups)]

    def risk(v, own):
        margin = sign[own] * (z[own] @ v[:-1])
        slope = -sign[own] / (1 + np.exp(margin)) / own.sum()
        return v[-1] - np.logaddexp(0, -margin).mean(), np.append(-(z[own].T @ slope), 1.0)

    constraints = [
        {"type": "ineq", "fun": lambda v, own=own: risk(v, own)[0], "jac": lambda v, own=own: risk(v, own)[1]}
        for own in rows
    ]
    found = minimize(
        lambda v: (v[-1] + half * (v[:-2] ** 2).sum(), np.concatenate([2 * half * v[:-2], [0.0, 1.0]])),
        np.zeros(z.shape[1] + 1) + np.eye(z.shape[1] + 1)[-1],
        jac=True,
        constraints=constraints,
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-12},
    )
    if not found.success:
        raise AssertionError(found.message)
    return float(found.fun)


def eiil_split(logits, y, steps: int = 2000):
    """(N,) the environments that gradient ascent on soft assignments finds for a binary head (Creager et al. 2021)."""
    scores = torch.tensor(logits[:, 1] - logits[:, 0], dtype=torch.float64)
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    losses = torch.nn.functional.binary_cross_entropy_with_logits(
        scores * scale, torch.tensor(y, dtype=torch.float64), reduction="none"
    )
    raw = torch.tensor(np.random.default_rng(0).standard_normal(len(y)), requires_grad=True)
    optimizer = torch.optim.Adam([raw], lr=0.05)
    for _ in range(steps):
        q = torch.sigmoid(raw)
        penalty = sum(
            torch.autograd.grad((losses * share).mean(), scale, create_graph=True)[0] ** 2 for share in (q, 1 - q)
        )
        optimizer.zero_grad()
        (-penalty).backward(retain_graph=True)
        optimizer.step()
    return torch.sigmoid(raw).detach().numpy() > 0.5

"""The slow, obvious twin of `skdal.gradients`: one sample at a time, plain autograd, nothing
shared."""

import copy
from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
import torch


def reference(net, X, y=None, direction=None):
    """Return every parameter's share of every sample's statistics.

    Returns
    -------
    SimpleNamespace
        label (n,); sq_norm and dot, dicts of parameter name to float64 (n,), dot zero without a
        direction; gradient, dict of parameter name to the sum over samples; length, dict of
        parameter name to the direction's.
    """
    parameters = {
        name: p for name, p in net.module_.named_parameters() if p.requires_grad
    }
    gradient = {
        name: torch.zeros_like(p, dtype=torch.float64) for name, p in parameters.items()
    }
    rows = []
    net.module_.eval()
    for i in range(len(next(iter(X.values())) if isinstance(X, Mapping) else X)):
        loss, label = sample_loss(net, X, i, y)
        grads = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        row = SimpleNamespace(label=label, sq_norm={}, dot={})
        for (name, p), g in zip(parameters.items(), grads):
            g = torch.zeros_like(p).double() if g is None else g.to_dense().double()
            gradient[name] += g
            row.sq_norm[name] = g.flatten() @ g.flatten()
            row.dot[name] = (
                g.flatten() @ direction[name].flatten()
                if direction
                else torch.zeros(()).double()
            )
        rows.append(row)
    net.module_.train()
    return SimpleNamespace(
        label=torch.cat([row.label for row in rows]),
        sq_norm={
            name: torch.stack([row.sq_norm[name] for row in rows])
            for name in parameters
        },
        dot={name: torch.stack([row.dot[name] for row in rows]) for name in parameters},
        gradient=gradient,
        length={
            name: v.double().norm().item() for name, v in (direction or {}).items()
        },
    )


def sample_loss(net, X, i, y=None):
    """Return the loss (scalar) of sample i, and the label (1,) that it was taken under."""
    if isinstance(X, Mapping):
        output = net.module_(
            **{key: torch.as_tensor(value[i : i + 1]) for key, value in X.items()}
        )
    else:
        output = net.module_(torch.as_tensor(X[i : i + 1]))
    output = output[0] if isinstance(output, tuple) else output
    label = output.argmax(1) if y is None else torch.as_tensor(y[i : i + 1])
    criterion = copy.deepcopy(net.criterion_)
    criterion.reduction = "none"
    if isinstance(criterion, torch.nn.NLLLoss):  # skorch takes the log itself
        output = torch.log(output + torch.finfo(torch.float64).eps)
    return criterion(output, label).sum(), label


def total(shares, names=None):
    """Return the sum (n,) over parameters, or over those named."""
    return sum(
        share for name, share in shares.items() if names is None or name in names
    )


def assert_statistics(actual, expected, names=None, rtol=1e-10):
    """Assert that statistics are the reference's, over all parameters or over those named.

    sq_norm is compared relatively; dot relative to the largest, since an inner product may cancel.
    """
    sq_norm, dot = total(expected.sq_norm, names), total(expected.dot, names)
    assert actual.label.tolist() == expected.label.tolist()
    torch.testing.assert_close(
        torch.as_tensor(actual.sq_norm), sq_norm, rtol=rtol, atol=1e-20
    )
    if actual.dot is not None:
        scale = dot.abs().max().item()
        torch.testing.assert_close(
            torch.as_tensor(actual.dot), dot, rtol=rtol, atol=rtol * scale
        )


def assert_every_share(actual, expected, rtol=1e-10):
    """Assert that every parameter's (sq_norm, dot), a dict by name, are the reference's, and not
    zero."""
    assert list(expected.sq_norm) == [
        name for name in expected.sq_norm if name in actual
    ]
    for name, (sq_norm, dot) in actual.items():

        def where(message, name=name):
            return f"{name}: {message}"

        assert sq_norm.min() > 0, name
        torch.testing.assert_close(
            sq_norm, expected.sq_norm[name], rtol=rtol, atol=0, msg=where
        )
        # Relative to the length of the gradient: an inner product may cancel.
        atol = (
            rtol * (expected.sq_norm[name].sqrt() * expected.length[name]).max().item()
        )
        torch.testing.assert_close(
            dot, expected.dot[name], rtol=rtol, atol=atol, msg=where
        )


def assert_gradients(actual, expected, rtol=1e-10):
    """Assert that two directions are equal, each tensor relative to its largest entry."""
    assert list(actual) == list(expected)
    for name, gradient in expected.items():
        assert actual[name].dtype == torch.float64
        atol = rtol * gradient.abs().max().item()
        torch.testing.assert_close(
            actual[name],
            gradient,
            rtol=rtol,
            atol=atol,
            msg=lambda m, n=name: f"{n}: {m}",
        )


# --- samplers
# ---------------------------------------------------------------------------------------


def k_center_greedy(pool, centers, n_instances):
    """Farthest from its nearest centre first, every distance anew for every pick."""
    picks, scores, centers = [], [], list(centers)
    for _ in range(n_instances):
        best, farthest = None, -1.0
        for i, x in enumerate(pool):
            distance = min(np.sqrt(((x - c) ** 2).sum()) for c in centers)
            if i not in picks and distance > farthest:
                best, farthest = i, distance
        picks.append(best)
        scores.append(farthest)
        centers.append(pool[best])
    return picks, scores


def badge_law(embeddings, picks):
    """The probability of each sample to be the next pick, given those so far."""
    if not picks:
        first = np.zeros(len(embeddings))
        first[np.argmax((embeddings**2).sum(1))] = 1
        return first
    squared = np.min(
        [((embeddings - embeddings[pick]) ** 2).sum(1) for pick in picks], axis=0
    )
    squared[picks] = 0
    if squared.sum() == 0:
        squared = np.ones(len(embeddings))
        squared[picks] = 0
    return squared / squared.sum()


def badge(embeddings, n_instances, rng):
    """K-means++ on explicit embeddings (n, K * d), drawing as the sampler does."""
    lengths = (embeddings**2).sum(1)
    picks = [int(np.argmax(lengths))]
    scores = [np.sqrt(lengths[picks[0]])]
    while len(picks) < n_instances:
        squared = np.min(
            [((embeddings - embeddings[p]) ** 2).sum(1) for p in picks], axis=0
        )
        squared[picks] = 0
        if squared.sum() > 0:
            picks.append(
                int(
                    np.searchsorted(
                        np.cumsum(squared), rng.random() * squared.sum(), side="right"
                    )
                )
            )
        else:
            free = [i for i in range(len(embeddings)) if i not in picks]
            picks.append(free[rng.integers(len(free))])
        scores.append(np.sqrt(squared[picks[-1]]))
    return picks, scores


def exp4p(weights, q, p, advised, reward, delta=0.1, p_min=None, horizon=1):
    """One update of the arms' weights after one draw."""
    n = len(weights)
    p_min = 1 / (10 * n) if p_min is None else p_min
    bonus = np.sqrt(np.log(n / delta) / (n * horizon))
    gain = [(reward / p if advised[a] else 0) + bonus / q[a] for a in range(n)]
    weights = np.array([w * np.exp(p_min / 2 * g) for w, g in zip(weights, gain)])
    return weights * n / weights.sum()

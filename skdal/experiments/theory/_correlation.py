"""Figures 2, 6 and 7: whether a larger training dynamics goes with a larger alignment, and a lower
bound.
"""

import warnings

import numpy as np
from scipy.stats import kendalltau
from sklearn.utils.extmath import softmax

from skdal.dynamics import (
    alignment,
    convergence_error,
    generalization_bound,
    infinite_ntk,
    kernel_regression,
    mse_training_dynamics,
)
from skdal.exceptions import InvalidParameterError
from skdal.experiments._run import initial_set, load, prepared_net
from skdal.experiments._spec import RunSpec
from skdal.experiments._train import outputs_of
from skdal.experiments.theory._results import Correlations
from skdal.experiments.theory._settings import (
    THEORY_NET,
    as_one_hot,
    check_enough,
    extreme_eigenvalues,
    kernel_images,
)
from skdal.utils import progress_bar

# What the residual's f is, and what stands for the labels of Q.
PREDICTIONS = ("zero", "kernel", "net")
LABELS = ("true", "pseudo", "pseudo one-hot")
KERNELS = (
    "raw",
    "unit diagonal",
)  # the diagonal tells of contrast: theta(x, x) grows with the square of x
STEPS = (10, 100, 1000)  # of gradient descent
_N_RANDOM = 30  # labelings by chance, the control
USES = (
    "dataset",
    "pixels",
    "dtype",
    "n_initial",
    "n_query",
    "n_draws",
    "n_candidates",
    "seed",
)
HOLDS = (*KERNELS, "kernel", "accuracy")
RESULT = Correlations


def compute(settings, folder, *, data_root, device, verbose):
    """Return `Correlations` for JSON: of the kernel as it is and with unit diagonal, for each draw
    of Q.
    """
    spec = RunSpec(
        settings.dataset,
        "cnn_gap",
        "random",
        n_initial=settings.n_initial,
        n_rounds=1,
        seed=settings.seed,
    )
    data, _ = load(spec, data_root)
    _check(settings, data)
    together, draws = _drawn(settings, initial_set(spec, data), len(data.train))
    theta = infinite_ntk(
        kernel_images(data.train, together, settings.pixels),
        **THEORY_NET,
        dtype=settings.dtype,
        cache_dir=folder / "kernels",
        device=device,
        verbose=verbose,
    )
    Y = as_one_hot(data.train.targets[together], len(data.class_names))
    net = prepared_net(spec, data, device)
    of_net = _probabilities(net, data.train.take(together))
    of_kernels = _of_kernels(theta, Y, settings, draws, of_net, verbose)
    return of_kernels | {
        "kernel": {
            "mean_diagonal": float(np.diag(theta).mean()),
            "eigenvalues": extreme_eigenvalues(theta),
        }
    }


def _of_kernels(theta, Y, settings, draws, of_net, verbose):
    """Return what `_measured` gives of both kernels, and the accuracy of predictions for the
    candidates.
    """
    n = settings.n_initial
    found = {"accuracy": {"net": _accuracy(of_net[n:], Y[n:])}}
    with progress_bar(2 * len(draws), "draws", verbose, unit="draws") as bar:
        for name, kernel in zip(KERNELS, (theta, _with_unit_diagonal(theta))):
            predictions = _predictions(kernel, Y, n, of_net)
            found[name] = _measured(
                kernel, Y, n, predictions, draws, settings.seed, bar
            )
            if name == "raw":
                of_kernel = predictions["kernel"]
                found["accuracy"]["kernel"] = _accuracy(of_kernel[n:], Y[n:])
    return found


def _check(settings, data):
    """Raise, before any training, if the images are too small or too few."""
    kernel_images(data.train, [0], settings.pixels)
    check_enough(settings, data, settings.n_candidates)
    if settings.n_query > settings.n_candidates:
        raise InvalidParameterError(
            f"a query of {settings.n_query} cannot come from {settings.n_candidates} candidates; "
            "ask for fewer."
        )


def _probabilities(net, images):
    """Return a net's probabilities (n, K)."""
    return softmax(outputs_of(net, images).cpu().double().numpy())


def _with_unit_diagonal(theta):
    lengths = np.sqrt(np.diag(theta))
    return theta / np.outer(lengths, lengths)


def _accuracy(predictions, Y):
    return float((predictions.argmax(1) == Y.argmax(1)).mean())


def _drawn(settings, initial, n_images):
    """Return the images of S and of the candidates, and each draw of Q as positions among the
    candidates.
    """
    rng = np.random.default_rng([settings.seed, 2])
    candidates = rng.choice(
        np.setdiff1d(np.arange(n_images), initial), settings.n_candidates, replace=False
    )
    draws = [
        rng.choice(len(candidates), settings.n_query, replace=False)
        for _ in range(settings.n_draws)
    ]
    return np.concatenate([initial, candidates]), draws


def _measured(theta, Y, n, predictions, draws, seed, bar):
    """Return the `KernelMeasures` of a kernel for JSON."""
    residuals = _residuals(predictions, Y, n)
    by_chance = _by_chance(predictions, Y, n, seed)
    rate = 1 / np.linalg.eigvalsh(theta.astype(np.float64))[-1]
    found = {
        "alignment": [],
        "bound": [],
        "trace": [],
        "error": {f"{t}": [] for t in STEPS},
        "dynamics": {key: [] for key in residuals},
    }
    random = {f: [] for f in by_chance}
    for draw in draws:
        rows = np.concatenate([np.arange(n), n + draw])
        kernel = theta[np.ix_(rows, rows)]
        _add_draw(found, kernel, Y[rows], n, rate)
        for key, residual in residuals.items():
            found["dynamics"][key].append(mse_training_dynamics(kernel, residual[rows]))
        for f, labelings in by_chance.items():
            some = labelings[:, rows]
            random[f].append(np.einsum("mik,mik->m", some, kernel @ some))
        bar.update(1)
    found["random"] = {
        against: _taus_by_chance(random, found[against])
        for against in ("alignment", "bound")
    }
    return found


def _add_draw(found, kernel, Y, n, rate):
    """Add what does not depend on f: alignment, bound, trace of Q's part of the kernel, and errors
    by steps.
    """
    found["alignment"].append(alignment(kernel, Y))
    found["bound"].append(generalization_bound(kernel, Y))
    found["trace"].append(float(np.trace(kernel[n:, n:])))
    for t in STEPS:
        error = convergence_error(kernel, Y, t=t, learning_rate=rate)
        found["error"][f"{t}"].append(error)


def _taus_by_chance(random, values):
    """Return Kendall's tau with some values (n_draws,) of G of each labeling by chance, by f."""
    return {
        f: [tau(dynamics, values)[0] for dynamics in np.transpose(of_draws)]
        for f, of_draws in random.items()
    }


def _predictions(theta, Y, n, of_net):
    """Return f of all samples: at initialization, of the converged kernel, of the trained net
    (probabilities).
    """
    of_kernel = np.concatenate(
        [Y[:n], kernel_regression(theta[:n, :n], theta[n:, :n], Y[:n])]
    )
    return {"zero": np.zeros_like(Y), "kernel": of_kernel, "net": of_net}


def _residuals(predictions, Y, n):
    """Return f - Y by (f, labels of Q); the paper makes pseudo-labels by kernel regression, a net
    makes its own.
    """
    residuals = {}
    for f, prediction in predictions.items():
        source = predictions["net" if f == "net" else "kernel"]
        one_hot = np.eye(Y.shape[1])[source.argmax(1)]
        for name, labels in zip(LABELS, (Y, source, one_hot)):
            residuals[f"{f}, {name}"] = prediction - np.concatenate([Y[:n], labels[n:]])
    return residuals


def _by_chance(predictions, Y, n, seed):
    """Return f - Y by f, (n_labelings, n_samples, K), with labels of Q that are drawn uniformly."""
    rng = np.random.default_rng([seed, 6])
    n_classes = Y.shape[1]
    drawn = np.eye(n_classes)[rng.integers(n_classes, size=(_N_RANDOM, len(Y) - n))]
    labels = np.concatenate(
        [np.broadcast_to(Y[:n], (_N_RANDOM, *Y[:n].shape)), drawn], axis=1
    )
    return {f: prediction - labels for f, prediction in predictions.items()}


def degenerate(f, labels):
    """Return why a variant says nothing by construction, or an empty string."""
    if (f, labels) == ("zero", "true"):
        return "G is the alignment itself"
    if labels == "pseudo" and f != "zero":
        return "the residual of Q is zero" + (
            ", and so is that of S" if f == "kernel" else ""
        )
    return ""


def rank_correlations(found, against):
    """Return Kendall's tau of each variant of G with "alignment" or "bound", and its p-value.

    Parameters
    ----------
    found : KernelMeasures
    against : {"alignment", "bound"}

    Returns
    -------
    dict of str to (float, float)
        NaN where G does not vary beyond rounding.
    """
    scale = max(max(values) for values in found.dynamics.values())
    taus = {}
    for key, values in found.dynamics.items():
        varies = np.ptp(values) > 1e-9 * scale
        taus[key] = tau(values, found.of(against)) if varies else (np.nan, np.nan)
    return taus


def tau(one, other):
    """Return Kendall's tau of two lists, and its p-value."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = kendalltau(one, other)
    return float(found.statistic), float(found.pvalue)

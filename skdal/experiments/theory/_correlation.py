"""Figures 2, 6 and 7: whether a larger training dynamics goes with a larger alignment, and a lower bound."""

import warnings

import numpy as np
from scipy.stats import kendalltau
from sklearn.utils.extmath import softmax

from skdal.dynamics import alignment, generalization_bound, infinite_ntk, kernel_regression, mse_training_dynamics
from skdal.exceptions import InvalidParameterError
from skdal.experiments._run import initial_set, load, prepared_net
from skdal.experiments._spec import RunSpec
from skdal.experiments._train import outputs_of
from skdal.experiments.theory._settings import THEORY_NET, as_one_hot, check_enough, extreme_eigenvalues, kernel_images
from skdal.utils import progress_bar

# What the residual's f is, and what stands for the labels of Q.
PREDICTIONS = ("zero", "kernel", "net")
LABELS = ("true", "pseudo", "pseudo one-hot")
USES = ("dataset", "pixels", "dtype", "n_initial", "n_query", "n_draws", "n_candidates", "seed")


def compute(settings, folder, *, data_root, device, verbose):
    """Return A, B and all variants of G for each draw of Q.

    Returns
    -------
    dict
        "alignment", "bound": list (n_draws,); "dynamics": dict of "f, labels" to such a list; and what is to know of
        the kernel.
    """
    spec = RunSpec(settings.dataset, "cnn_gap", "random", n_initial=settings.n_initial, n_rounds=1, seed=settings.seed)
    data, _ = load(spec, data_root)
    kernel_images(data.train, [0], settings.pixels)  # raises, before the training
    check_enough(settings, data, settings.n_candidates)
    if settings.n_query > settings.n_candidates:
        raise InvalidParameterError(
            f"a query of {settings.n_query} cannot come from {settings.n_candidates} candidates; ask for fewer."
        )
    initial = initial_set(spec, data)
    rng = np.random.default_rng([settings.seed, 2])
    pool = np.setdiff1d(np.arange(len(data.train)), initial)
    candidates = rng.choice(pool, settings.n_candidates, replace=False)
    together = np.concatenate([initial, candidates])
    images = kernel_images(data.train, together, settings.pixels)
    how = {"dtype": settings.dtype, "cache_dir": folder / "kernels", "device": device, "verbose": verbose}
    theta = infinite_ntk(images, **THEORY_NET, **how)
    Y = as_one_hot(data.train.targets[together], len(data.class_names))
    n = len(initial)
    net = prepared_net(spec, data, device)
    predictions = _predictions(theta, Y, n, net, data.train.take(together))
    found = {"alignment": [], "bound": [], "dynamics": {f"{f}, {y}": [] for f in PREDICTIONS for y in LABELS}}
    with progress_bar(settings.n_draws, "draws", verbose, unit="draws") as bar:
        for _ in range(settings.n_draws):
            rows = np.concatenate([np.arange(n), n + rng.choice(len(candidates), settings.n_query, replace=False)])
            of_rows = theta[np.ix_(rows, rows)]
            found["alignment"].append(alignment(of_rows, Y[rows]))
            found["bound"].append(generalization_bound(of_rows, Y[rows]))
            for key, residual in _residuals(predictions, Y, n).items():
                found["dynamics"][key].append(mse_training_dynamics(of_rows, residual[rows]))
            bar.update(1)
    extremes = extreme_eigenvalues(theta)
    found["kernel"] = {"mean_diagonal": float(np.diag(theta).mean()), "eigenvalues": extremes}
    found["accuracy"] = {f: float((predictions[f][n:].argmax(1) == Y[n:].argmax(1)).mean()) for f in ("kernel", "net")}
    return found


def _predictions(theta, Y, n, net, images):
    """Return f of all samples: at initialization, of the converged kernel, of the trained net (probabilities)."""
    of_kernel = np.concatenate([Y[:n], kernel_regression(theta[:n, :n], theta[n:, :n], Y[:n])])
    return {
        "zero": np.zeros_like(Y),
        "kernel": of_kernel,
        "net": softmax(outputs_of(net, images).cpu().double().numpy()),
    }


def _residuals(predictions, Y, n):
    """Return f - Y by (f, labels of Q); the paper makes pseudo-labels by kernel regression, a net makes its own."""
    residuals = {}
    for f, prediction in predictions.items():
        source = predictions["net" if f == "net" else "kernel"]
        one_hot = np.eye(Y.shape[1])[source.argmax(1)]
        for name, labels in zip(LABELS, (Y, source, one_hot)):
            residuals[f"{f}, {name}"] = prediction - np.concatenate([Y[:n], labels[n:]])
    return residuals


def degenerate(f, labels):
    """Return why a variant says nothing by construction, or an empty string."""
    if (f, labels) == ("zero", "true"):
        return "G is the alignment itself"
    if labels == "pseudo" and f != "zero":
        return "the residual of Q is zero" + (", and so is that of S" if f == "kernel" else "")
    return ""


def rank_correlations(found, against):
    """Return Kendall's tau of each variant of G with "alignment" or "bound", and its p-value.

    Returns
    -------
    dict of str to (float, float)
        NaN where G does not vary beyond rounding.
    """
    taus = {}
    scale = max(max(values) for values in found["dynamics"].values())
    for key, values in found["dynamics"].items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tau = kendalltau(values, found[against])
        varies = np.ptp(values) > 1e-9 * scale
        taus[key] = (float(tau.statistic), float(tau.pvalue)) if varies else (np.nan, np.nan)
    return taus

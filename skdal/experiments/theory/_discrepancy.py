"""Figures 1 and 9 and Table 10: how far dynamicAL moves the labeled set, against the generalization bound."""

import numpy as np

from skdal.dynamics import generalization_bound, infinite_ntk, mmd_squared
from skdal.exceptions import InvalidParameterError
from skdal.experiments._run import load, run
from skdal.experiments._spec import RunSpec
from skdal.experiments.theory._settings import THEORY_NET, as_one_hot, check_enough, kernel_images

USES = ("dataset", "pixels", "n_initial", "budget", "batches", "seed")


def compute(settings, folder, *, data_root, device, verbose):
    """Return MMD^2 and B after each round, for dynamicAL in queries of several sizes and for random queries.

    Returns
    -------
    dict
        "rows": list of dict with "sampler", "batch", "round", "n", "mmd_squared", "bound" and "mean_diagonal".
    """
    if too_large := [batch for batch in settings.batches if batch > settings.budget]:
        raise InvalidParameterError(f"queries of {too_large} are above the budget of {settings.budget} labels.")
    rows = []
    for sampler, batch in [*(("dynamical", b) for b in settings.batches), ("random", min(settings.batches))]:
        rows += _rounds(settings, folder, sampler, batch, data_root, device, verbose)
    return {"rows": rows}


def _rounds(settings, folder, sampler, batch, data_root, device, verbose):
    spec = RunSpec(
        settings.dataset,
        "cnn_gap",
        sampler,
        n_initial=settings.n_initial,
        n_instances=batch,
        n_rounds=settings.budget // batch,
        eval_every=0,
        seed=settings.seed,
    )
    data, _ = load(spec, data_root)
    kernel_images(data.train, [0], settings.pixels)  # raises, before the training
    check_enough(settings, data, settings.budget)
    records = run(spec, folder / "runs", data_root=data_root, device=device)
    order = np.concatenate([records[0]["initial"], *(record["queried"] for record in records)]).astype(np.intp)
    images = kernel_images(data.train, order, settings.pixels)
    theta = infinite_ntk(images, **THEORY_NET, cache_dir=folder / "kernels", device=device, verbose=verbose)
    Y = as_one_hot(data.train.targets[order], len(data.class_names))
    rows = []
    for record in records[1:]:
        n = record["n_labeled"]
        some = theta[:n, :n]
        rows.append(
            {
                "sampler": sampler,
                "batch": batch,
                "round": record["round"],
                "n": n,
                "mmd_squared": mmd_squared(some, np.arange(settings.n_initial)),
                "bound": generalization_bound(some, Y[:n]),
                "mean_diagonal": float(np.diag(some).mean()),
            }
        )
    return rows


def ratio(row, *, normalized):
    """Return MMD/B; of the kernel with mean diagonal 1, by which MMD shrinks with its root and B grows with it."""
    discrepancy = np.sqrt(max(0.0, row["mmd_squared"]))
    return float(discrepancy / row["bound"] / (row["mean_diagonal"] if normalized else 1.0))

"""Figures 1 and 9 and Table 10: how far dynamicAL moves the labeled set, against the generalization
bound.
"""

import itertools
from functools import partial

import numpy as np

from skdal.dynamics import generalization_bound, infinite_ntk, mmd_squared
from skdal.exceptions import InvalidParameterError
from skdal.experiments._run import initial_set, load, run
from skdal.experiments._spec import RunSpec
from skdal.experiments._store import RunFolder
from skdal.experiments.theory._results import Discrepancies
from skdal.experiments.theory._settings import (
    THEORY_NET,
    as_one_hot,
    check_enough,
    extreme_eigenvalues,
    kept_rows,
    kernel_images,
)
from skdal.utils import AS_ARRAY, kept, progress_bar

USES = ("dataset", "pixels", "dtype", "n_initial", "budget", "batches", "seed")
HOLDS = ("rows", "orders")
RESULT = Discrepancies


def compute(settings, folder, *, data_root, device, verbose):
    """Return `Discrepancies` for JSON: of dynamicAL in queries of several sizes, and of random
    queries.

    What there is of each series is kept: its labeled set, kernel and rows. All begin alike: the
    first training and a pair of images that two of them have are worked once.
    """
    if uneven := [batch for batch in settings.batches if settings.budget % batch]:
        raise InvalidParameterError(
            f"a budget of {settings.budget} labels is not a multiple of queries of {uneven}."
        )
    data, _ = load(_spec(settings, "random", 1), data_root)
    kernel_images(data.train, [0], settings.pixels)  # raises, before the training
    check_enough(settings, data, settings.budget)
    there = folder / "discrepancies" / settings.digest(*USES)
    series = [
        *(("dynamical", batch) for batch in settings.batches),
        ("random", min(settings.batches)),
    ]
    specs = [_spec(settings, *one) for one in series]
    runs = {"root": folder / "runs", "data_root": data_root, "device": device}
    orders = _orders(series, specs, data, runs, there, verbose)
    kernel_settings = {
        "dtype": settings.dtype,
        "cache_dir": folder / "kernels",
        "device": device,
        "verbose": verbose,
    }
    rows = _rows_of_all(series, orders, data, settings, there, kernel_settings)
    return {
        "rows": rows,
        "orders": {_name(one): order for one, order in zip(series, orders)},
    }


def _rows_of_all(series, orders, data, settings, there, kernel_settings):
    """Return the rows of all series, one series after the other, which share parts of their
    kernels.
    """
    rows = []
    kernels = []  # of the series so far: (order, kernel)
    for one, order in zip(series, map(np.asarray, orders)):
        file = there / f"{_name(one)}.json"
        kernel_file = file.with_suffix(".npy")
        if not file.exists() or kernel_file.exists():
            make = partial(
                _kernel, data.train, order, kernels, settings.pixels, kernel_settings
            )
            kernels.append((order, kept(kernel_file, make, AS_ARRAY)))
        make = partial(_rows_of_last, *one, kernels, data, settings.n_initial)
        rows += kept_rows(file, make)
    return rows


def _orders(series, specs, data, runs, there, verbose):
    """Return the labeled set of each series after its last query, in the order of the queries."""
    n_queries = sum(spec.n_rounds for spec in specs)
    orders = []
    with progress_bar(
        n_queries, "trainings and queries", verbose, unit="queries"
    ) as bar:
        for one, spec in zip(series, specs):
            ask = partial(_asked_for, spec, specs[:-1], data, runs, bar)
            orders.append(kept_rows(there / f"{_name(one)}-order.json", ask))
            bar.update(sum(spec.n_rounds for spec in specs[: len(orders)]) - bar.n)
    return orders


def _rows_of_last(sampler, batch, kernels, data, n_initial):
    """Return the rows of the series whose kernel is the last one."""
    order, theta = kernels[-1]
    return _rows(sampler, batch, order, theta, data, n_initial)


def _name(series):
    return "{}-{}".format(*series)


def _spec(settings, sampler, batch):
    return RunSpec(
        settings.dataset,
        "cnn_gap",
        sampler,
        n_initial=settings.n_initial,
        n_instances=batch,
        n_rounds=settings.budget // batch,
        eval_every=0,
        seed=settings.seed,
    )


def _asked_for(spec, alike, data, where, bar):
    """Return the labeled set after the last query, in the order of the queries."""
    initial = initial_set(spec, data)
    if spec.sampler == "random":  # which asks without a look at the net
        pool = np.setdiff1d(np.arange(len(data.train)), initial)
        rng = np.random.default_rng([spec.seed, 5])
        return [
            *initial.tolist(),
            *rng.choice(pool, spec.n_rounds * spec.n_instances, replace=False).tolist(),
        ]
    _begin(alike, data, where)
    records = run(
        spec, **where, n_records=spec.n_rounds, report=lambda record: bar.update(1)
    )
    return [
        *initial.tolist(),
        *(i for record in records[: spec.n_rounds] for i in record["queried"]),
    ]


def _begin(specs, data, where):
    """Do the first round of all series in one: they take more or fewer of the same best."""
    longest, *others = sorted(specs, key=lambda spec: -spec.n_instances)
    root = where["root"]
    others = [spec for spec in others if not RunFolder(root, spec).rounds()]
    if not others or len(RunFolder(root, longest).rounds()) > 1:
        return
    run(longest, **where, n_records=1)
    (record,), state = RunFolder(root, longest).resume()
    for spec in others:
        queried = record["queried"][: spec.n_instances]
        classes = np.bincount(
            data.train.targets[queried], minlength=len(data.class_names)
        ).tolist()
        part = {
            "queried": queried,
            "scores": record["scores"][: spec.n_instances],
            "classes": classes,
        }
        begun = RunFolder(root, spec)
        with begun.locked() as is_mine:
            if is_mine and not begun.rounds():
                begun.append(record | part, state)


def _kernel(images, order, kernels, pixels, how):
    """Return the kernel (n, n) of some images, of which those in (order, kernel) of other series
    are copied.

    Images are grouped by the other series that they are in: what no series has both of is worked,
    group by group.
    """
    theta = np.empty((len(order), len(order)), dtype=how["dtype"])
    member = np.zeros(len(order), dtype=int)
    for k, (other, known) in enumerate(kernels):
        _, here, there = np.intersect1d(order, other, return_indices=True)
        theta[np.ix_(here, here)] = known[np.ix_(there, there)]
        member[here] += 2**k
    groups = [np.flatnonzero(member == value) for value in np.unique(member)]
    inputs = [kernel_images(images, order[rows], pixels) for rows in groups]
    for i, j in itertools.combinations_with_replacement(range(len(groups)), 2):
        rows = groups[i]
        columns = groups[j]
        if not member[rows[0]] & member[columns[0]]:
            block = infinite_ntk(
                inputs[i], None if i == j else inputs[j], **THEORY_NET, **how
            )
            theta[np.ix_(rows, columns)] = block
            theta[np.ix_(columns, rows)] = block.T
    return theta


def _rows(sampler, batch, order, theta, data, n_initial):
    Y = as_one_hot(data.train.targets[order], len(data.class_names))
    rows = []
    for k, n in enumerate(range(n_initial + batch, len(order) + 1, batch)):
        some = theta[:n, :n]
        rows.append(
            {
                "sampler": sampler,
                "batch": batch,
                "round": k + 1,
                "n": n,
                "mmd_squared": mmd_squared(some, np.arange(n_initial)),
                "bound": generalization_bound(some, Y[:n]),
                "mean_diagonal": float(np.diag(some).mean(dtype=np.float64)),
                "eigenvalues": extreme_eigenvalues(some),
                "classes": Y[n_initial:n].sum(0).astype(int).tolist(),
            }
        )
    return rows

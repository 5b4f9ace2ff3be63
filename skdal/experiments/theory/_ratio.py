"""Figure 4: how good the sum of the samples' own changes of the training dynamics is, as training
goes on.
"""

import numpy as np

from skdal.base import highest
from skdal.experiments._run import check_net, initial_set, load, make_net
from skdal.experiments._spec import RunSpec
from skdal.experiments._train import measure
from skdal.experiments.theory._results import Ratios
from skdal.experiments.theory._settings import check_enough, kept_rows
from skdal.gradients import gradient_statistics, labeled_gradient
from skdal.models import MODELS
from skdal.utils import check_known, forked_rng, preserved_rng, progress_bar

USES = ("dataset", "n_initial", "batches", "epochs", "models", "n_ratio_draws", "seed")
HOLDS = ("rows",)
RESULT = Ratios


def compute(settings, folder, *, data_root, device, verbose):
    """Return `Ratios` for JSON: those of random queries and of dynamicAL's own, after each number
    of epochs.
    """
    data = [_checked(model, settings, data_root, device) for model in settings.models][
        0
    ]
    there = folder / "ratios" / settings.digest(*USES)
    rows = [
        _of_model(_spec(model, settings), settings, data, there, device, verbose)
        for model in settings.models
    ]
    return {"rows": sum(rows, [])}


def _spec(model, settings):
    return RunSpec(
        settings.dataset,
        model,
        "random",
        n_initial=settings.n_initial,
        n_rounds=1,
        seed=settings.seed,
    )


def _checked(model, settings, data_root, device):
    """Return the data after checking that there are enough, and that the net takes them."""
    check_known("model", model, MODELS)
    spec = _spec(model, settings)
    data, _ = load(spec, data_root)
    check_enough(settings, data, max(settings.batches))
    check_net(spec, data, device)
    return data


def _of_model(spec, settings, data, there, device, verbose):
    """Return the rows of a net; those of each number of epochs are kept, and only training is done
    again.
    """
    model = spec.model
    net = make_net(spec, data, device).initialize()
    initial = initial_set(spec, data)
    rng = np.random.default_rng([settings.seed, 4])
    labeled = data.train.take(initial)
    pool = data.train.take(np.setdiff1d(np.arange(len(data.train)), initial))
    draws = [
        rng.choice(len(pool), max(settings.batches), replace=False)
        for _ in range(settings.n_ratio_draws)
    ]
    rows = []
    trained = 0
    bar = progress_bar(len(settings.epochs), f"looks at {model}", verbose, unit="looks")
    with bar, forked_rng(spec.seed_of("order", 0), 0):
        for epoch in settings.epochs:
            if epoch > trained:
                net.fit_loop(labeled, epochs=epoch - trained)
                trained = epoch

            def make(epoch=epoch):
                return _rows(model, epoch, net, labeled, pool, draws, settings.batches)

            with (
                preserved_rng()
            ):  # whether they are kept or not, training goes on the same
                rows += kept_rows(there / f"{model}-{epoch}.json", make)
            bar.update(1)
    return rows


def _rows(model, epoch, net, labeled, pool, draws, batches):
    common = {
        "model": model,
        "epoch": epoch,
        "train_accuracy": measure(net, labeled, epoch).accuracy,
    }
    return [
        {**common, "batch": b, **ratios}
        for b, ratios in _ratios(net, labeled, pool, draws, batches).items()
    ]


def _ratios(net, labeled, pool, draws, batches):
    """Return, by size of the query, Eq. 14 of random queries and of the highest scores; smaller
    ones are parts.
    """
    direction = labeled_gradient(net, labeled)
    statistics = gradient_statistics(net, pool.unlabeled(), direction=direction)
    scores = statistics.sq_norm + 2 * statistics.dot

    def of_query(picks):
        return _nested(net, pool, picks, statistics, direction, batches)

    by_draw = [of_query(picks) for picks in draws]
    own = of_query(highest(scores, len(draws[0])))
    return {b: {"random": [found[b] for found in by_draw], "own": own[b]} for b in own}


def _nested(net, pool, picks, statistics, direction, sizes):
    """Return the approximation ratio of the first b picks, by b; the gradients of each are summed
    once.
    """
    found = {}
    total = dict.fromkeys(direction, 0.0)
    start = 0
    for b in sorted(sizes):
        part = picks[start:b]
        more = labeled_gradient(
            net, pool.take(part).unlabeled(), statistics.label[part]
        )
        total = {name: total[name] + more[name] for name in total}
        start = b
        dots = float(sum((total[name] * direction[name]).sum() for name in total))
        together = float(sum((g * g).sum() for g in total.values())) + 2 * dots
        apart = float(statistics.sq_norm[picks[:b]].sum()) + 2 * dots
        found[b] = apart / together if together != 0 else None
    return found

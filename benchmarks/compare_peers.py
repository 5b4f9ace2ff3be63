"""Our picks beside those of modAL and scikit-activeml, and small reproductions of where a peer is
wrong.

Same net (trained on handwritten digits), same data, same seeds; five splits. Writes
results/peers.json.
"""

import inspect
import warnings
from importlib.metadata import version

import numpy as np
import torch
from _common import print_table, write_results
from modAL import uncertainty
from modAL.models import ActiveLearner
from scipy.stats import spearmanr
from skactiveml import pool as activeml
from skactiveml.classifier import SklearnClassifier
from sklearn.datasets import load_digits
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from skorch import NeuralNetClassifier
from torch import nn

from skdal.adapters import last_hidden
from skdal.samplers import SAMPLERS, BADGESampler, CoresetSampler
from skdal.samplers._badge import kmeans_plusplus

SEEDS, N_LABELED, N_INSTANCES = range(5), 200, 50
MODAL, ACTIVEML = (
    f"{name} {version(name)}" for name in ("modAL-python", "scikit-activeml")
)
MODAL = MODAL.replace("-python", "")
UNCERTAINTY = {  # ours: modAL's function, scikit-activeml's method
    "confidence": (uncertainty.uncertainty_sampling, "least_confident"),
    "margin": (uncertainty.margin_sampling, "margin_sampling"),
    "entropy": (uncertainty.entropy_sampling, "entropy"),
}
SETTINGS = {
    "criterion": nn.CrossEntropyLoss,
    "train_split": None,
    "verbose": 0,
    "classes": list(range(10)),
}


class Problem:
    """One split of the digits with a net trained on its labeled part.

    Attributes
    ----------
    hidden, head : array (n, 32), NeuralNetClassifier
        The net in two: what its last layer gets for all samples, and that layer.
    """

    def __init__(self, seed):
        X, y = load_digits(return_X_y=True)
        order = np.random.RandomState(seed).permutation(len(X))
        X, y = X[order].astype(np.float32) / 16, y[order].astype(np.int64)
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        self.net = NeuralNetClassifier(
            module, optimizer=torch.optim.Adam, lr=0.01, max_epochs=15, **SETTINGS
        )
        self.net.fit(X[:N_LABELED], y[:N_LABELED])
        self.head = NeuralNetClassifier(module[2], **SETTINGS).initialize()
        self.hidden = last_hidden(self.net, X).numpy()
        self.X, self.y, self.seed = X, y, seed
        self.labels = np.where(
            np.arange(len(X)) < N_LABELED, y, -1
        )  # as scikit-activeml takes them
        self.labeled, self.pool = (X[:N_LABELED], y[:N_LABELED]), X[N_LABELED:]

    def ours(self, sampler):
        """Return our picks."""
        return sampler(
            self.net,
            self.pool,
            N_INSTANCES,
            X_labeled=self.labeled[0],
            y_labeled=self.labeled[1],
        )

    def modal(self, strategy):
        """Return modAL's picks."""
        return ActiveLearner(FrozenEstimator(self.net), strategy, *self.labeled).query(
            self.pool, n_instances=N_INSTANCES
        )[0]

    def activeml(self, strategy, X, classifier=None, **more):
        """Return scikit-activeml's picks."""
        arguments = (
            {}
            if classifier is None
            else {"clf": _theirs(classifier, X, self.labels), "fit_clf": False}
        )
        found = strategy.query(
            X, self.labels, **arguments, batch_size=N_INSTANCES, **more
        )
        picks = found[0] if more else found
        return (
            (np.asarray(picks) - N_LABELED, found[1][:, N_LABELED:])
            if more
            else np.asarray(picks) - N_LABELED
        )


def _theirs(classifier, X, labels):
    """Return a trained classifier as scikit-activeml takes it; it stays as it was trained."""
    return SklearnClassifier(FrozenEstimator(classifier), missing_label=-1).fit(
        X, labels
    )


def features(classifier, X):
    """Return the samples themselves as representations."""
    return X


# --- picks ----------------------------------------------------------------------------------------


def row(strategy, peer, pairs, note):
    """Return one row of the comparison from (ours, theirs) of every split."""
    return {
        "part": "picks",
        "strategy": strategy,
        "peer": peer,
        "in common": [
            len(set(ours.tolist()) & set(theirs.tolist())) for ours, theirs in pairs
        ],
        "in the same order": sum(
            ours.tolist() == theirs.tolist() for ours, theirs in pairs
        ),
        "our duplicates": sum(len(ours) - len(set(ours.tolist())) for ours, _ in pairs),
        "their duplicates": sum(
            len(theirs) - len(set(theirs.tolist())) for _, theirs in pairs
        ),
        "note": note,
    }


def compare_random(problems):
    """Two ways to draw, which nothing connects."""
    note = "not comparable: each draws from a generator of its own; by chance 1.6 are in common"
    ours = [p.ours(SAMPLERS["random"](random_state=p.seed)) for p in problems]
    theirs = [
        p.activeml(activeml.RandomSampling(missing_label=-1, random_state=p.seed), p.X)
        for p in problems
    ]
    return [row("random", ACTIVEML, list(zip(ours, theirs)), note)]


def compare_uncertainty(problems):
    """The same formulas of the same probabilities."""
    rows = []
    for key, (function, method) in UNCERTAINTY.items():
        strategy = activeml.UncertaintySampling(
            method=method, missing_label=-1, random_state=0
        )
        ours = [p.ours(SAMPLERS[key]()) for p in problems]
        pairs = [(mine, p.modal(function)) for mine, p in zip(ours, problems)]
        rows.append(
            row(
                key,
                MODAL,
                pairs,
                "the same picks; modAL's order is that of numpy's argpartition, which is "
                "not promised",
            )
        )
        pairs = [
            (mine, p.activeml(strategy, p.X, p.net)) for mine, p in zip(ours, problems)
        ]
        rows.append(row(key, ACTIVEML, pairs, "the same picks"))
    return rows


def compare_coreset(problems):
    """The same method on the same representations, and what the peer can do by itself."""
    strategy = activeml.CoreSet(missing_label=-1, random_state=0)
    theirs = [p.activeml(strategy, p.X) for p in problems]
    on_X = [
        (p.ours(CoresetSampler(embedding=features)), them)
        for p, them in zip(problems, theirs)
    ]
    as_they_are = [
        (p.ours(CoresetSampler()), them) for p, them in zip(problems, theirs)
    ]
    on_hidden = [
        (p.ours(CoresetSampler()), p.activeml(strategy, p.hidden)) for p in problems
    ]
    gaps = [
        gap
        for p, pair in zip(problems, on_X)
        if (gap := gap_where_they_part(p, *pair)) is not None
    ]
    ties = (
        f"the same but for ties, which part {len(gaps)} of {len(problems)} batches (distances "
        f"differ by {max(gaps, default=0):.0f} there): ours go to the lower position, theirs "
        "are drawn"
    )
    return [
        row(
            "coreset, as it comes",
            ACTIVEML,
            as_they_are,
            "theirs knows X only, ours is on the last hidden layer",
        ),
        row("coreset, both on X", ACTIVEML, on_X, ties),
        row(
            "coreset, both on the last hidden layer",
            ACTIVEML,
            on_hidden,
            "the same picks; theirs gets it as X",
        ),
    ]


def gap_where_they_part(problem, ours, theirs):
    """Return how much the distances to the nearest centre differ where two batches on X part, None
    if they do not.
    """
    at = next((i for i in range(N_INSTANCES) if ours[i] != theirs[i]), None)
    if at is None:
        return None
    centres = np.concatenate([problem.labeled[0], problem.pool[ours[:at]]]).astype(
        np.float64
    )
    nearest = [
        np.linalg.norm(centres - problem.pool[picks[at]], axis=1).min()
        for picks in (ours, theirs)
    ]
    return float(abs(nearest[0] - nearest[1]))


def compare_badge(problems):
    """Draws differ with the generator, so the law of each draw is compared, too."""
    strategy = activeml.Badge(missing_label=-1, random_state=0)
    pairs, first, ours_off, theirs_off = [], [], [], []
    for p in problems:
        ours = p.ours(BADGESampler(random_state=p.seed))
        theirs, laws = p.activeml(strategy, p.hidden, p.head, return_utilities=True)
        embeddings = gradient_embeddings(
            p.head.predict_proba(p.hidden[N_LABELED:]), p.hidden[N_LABELED:]
        )
        pairs.append((ours, theirs))
        first.append(ours[0] == theirs[0])
        theirs_off.append(
            max(
                distance_to_law(laws[i], embeddings, theirs[:i])
                for i in range(1, N_INSTANCES)
            )
        )
        ours_off.append(our_error(p, embeddings))
    note = (
        f"first picks equal in {sum(first)} of {len(first)}, the rest is drawn. Ours: by "
        f"distances right to {max(ours_off):.0e}. Theirs: by probabilities up to "
        f"{max(theirs_off):.2f} (total variation) off D^2"
    )
    return [row("BADGE, both on the last hidden layer", ACTIVEML, pairs, note)]


def gradient_embeddings(proba, hidden):
    """Return (p - e_argmax) (x) h of each sample, explicitly."""
    factor = proba.astype(np.float64) - np.eye(proba.shape[1])[proba.argmax(1)]
    return np.einsum("nk,nd->nkd", factor, hidden.astype(np.float64)).reshape(
        len(proba), -1
    )


def d2_law(embeddings, picks):
    """Return the probability of each sample to be the next pick of k-means++."""
    squared = np.min(
        [((embeddings - embeddings[pick]) ** 2).sum(1) for pick in picks], axis=0
    )
    squared[picks] = 0
    return squared / squared.sum()


def distance_to_law(found, embeddings, picks):
    """Return the total variation of probabilities from those of k-means++ after the same picks."""
    return float(np.abs(np.nan_to_num(found) - d2_law(embeddings, picks)).sum() / 2)


def our_error(problem, embeddings):
    """Return the largest relative error of the distances that our draws of a batch are by."""
    sampler = BADGESampler(FrozenEstimator(problem.net), random_state=problem.seed).fit(
        *problem.labeled
    )
    picks, found = sampler.query(problem.pool, N_INSTANCES, return_scores=True)
    errors = [
        abs(
            found[i]
            / np.linalg.norm(embeddings[picks[:i]] - embeddings[pick], axis=1).min()
            - 1
        )
        for i, pick in enumerate(picks)
        if i
    ]
    return float(max(errors))


# --- faults ---------------------------------------------------------------------------------------


def fault(peer, what, theirs, ours):
    """Return one row of the reproductions."""
    return {
        "part": "faults",
        "peer": peer,
        "fault": what,
        "theirs": theirs,
        "ours": ours,
    }


def duplicates_in_a_batch(n_trials=50, n_distinct=6):
    """A pool that holds every sample twice, and a batch larger than the number of distinct ones
    (issue 586).
    """
    theirs = ours = 0
    for seed in range(n_trials):
        distinct = (
            np.random.RandomState(seed).normal(size=(n_distinct, 2)).astype(np.float32)
        )
        X = np.concatenate([distinct] * 3)
        labels = np.full(len(X), -1)
        labels[:n_distinct] = np.arange(n_distinct) % 2
        classifier = LogisticRegression().fit(X[:n_distinct], labels[:n_distinct])
        batch = 2 * n_distinct - 2
        strategy = activeml.Badge(missing_label=-1, random_state=seed)
        theirs += _repeats(
            strategy.query(
                X,
                labels,
                _theirs(classifier, X, labels),
                fit_clf=False,
                batch_size=batch,
            )
        )
        proba, pool = classifier.predict_proba(X[n_distinct:]), X[n_distinct:]
        factor = torch.from_numpy(proba - np.eye(2)[proba.argmax(1)]).float()
        picks = kmeans_plusplus(
            factor, torch.from_numpy(pool), batch, np.random.default_rng(seed)
        )[0]
        ours += _repeats(picks)
    what = (
        f"BADGE: batches of {batch} with a sample twice, from a pool that holds {n_distinct} "
        "samples twice"
    )
    return fault(ACTIVEML, what, f"{theirs} of {n_trials}", f"{ours} of {n_trials}")


def _repeats(picks):
    return int(len({int(pick) for pick in picks}) < len(picks))


def origin_as_a_centre():
    """Two groups, one near the origin: after a pick from the other, the distant one is due (issue
    588).
    """
    far, near = (
        np.array([[10, 10], [10.5, 9.5], [9.5, 10.5]]),
        np.array([[0.1, 0.1], [0.2, 0.1], [0.1, 0.2]]),
    )
    X, labels = (
        np.concatenate([[[1.0, 0], [0, 1.0]], far, near]),
        np.array([0, 1] + [-1] * 6),
    )
    classifier = DummyClassifier(strategy="prior").fit(
        X[:2], labels[:2]
    )  # embeddings are multiples of the samples
    picks, laws = activeml.Badge(missing_label=-1, random_state=0).query(
        X,
        labels,
        _theirs(classifier, X, labels),
        fit_clf=False,
        batch_size=2,
        return_utilities=True,
    )
    embeddings = gradient_embeddings(classifier.predict_proba(X[2:]), X[2:])
    exact = d2_law(embeddings, [picks[0] - 2])
    what = (
        "BADGE: probability that the second pick is from a group near the origin, the first "
        "being from the other"
    )
    return fault(
        ACTIVEML, what, f"{np.nansum(laws[1, 5:]):.3f}", f"{exact[3:].sum():.3f}"
    )


def coreset_without_the_net():
    """What CoreSet takes beside X and y."""
    more = sorted(
        set(inspect.signature(activeml.CoreSet.query).parameters)
        & {"clf", "estimator", "fit_clf"}
    )
    assert not more, more
    return fault(
        ACTIVEML,
        "CoreSet: what of the net it takes",
        "nothing, X only",
        "last hidden layer, or any other",
    )


def formula_without_the_pseudo_label(problem):
    """small-text indexes rows where it means columns, so that 1 is never subtracted (read, not
    installed here).
    """
    hidden = problem.hidden[N_LABELED:].astype(np.float64)
    proba = problem.head.predict_proba(problem.hidden[N_LABELED:]).astype(np.float64)
    label, rows = proba.argmax(1), np.arange(len(proba))
    theirs = -proba
    theirs[label] = -proba[label]  # rows 0 to 9, which hold that already
    right = proba - np.eye(10)[label]
    n_right = int(
        np.isclose(np.abs(theirs[rows, label]), np.abs(right[rows, label])).sum()
    )
    lengths = [
        np.linalg.norm(factor, axis=1) * np.linalg.norm(hidden, axis=1)
        for factor in (theirs, right)
    ]
    confidence = proba.max(1)
    theirs, ours = (float(spearmanr(length, confidence)[0]) for length in lengths)
    what = "BADGE: rank correlation of an embedding's length with the net's confidence"
    note = f" (p - 1 for the pseudo-label in {n_right} of {len(proba)} samples)"
    return fault(
        "small-text 1.4.1 (its formula)", what, f"{theirs:+.2f}{note}", f"{ours:+.2f}"
    )


def expected_error_of_modal():
    """Whether the module can be imported."""
    try:
        import modAL.expected_error  # noqa: F401

        found = "imported"
    except AttributeError as error:
        found = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return fault(
        MODAL, f"import modAL.expected_error under numpy {version('numpy')}", found, "–"
    )


def teach_of_modal():
    """Whether its learner can be taught."""
    learner = ActiveLearner(
        LogisticRegression(), X_training=[[0.0], [1.0]], y_training=[0, 1]
    )
    try:
        learner.teach(np.array([[2.0]]), np.array([1]))
        found = "works"
    except TypeError as error:
        found = f"{type(error).__name__}: {error}"
    return fault(
        MODAL,
        f"ActiveLearner.teach under scikit-learn {version('scikit-learn')}",
        found,
        "works",
    )


def main():
    """Compare, reproduce, print tables, write the record."""
    warnings.simplefilter("ignore")
    problems = [Problem(seed) for seed in SEEDS]
    picks = [
        *compare_random(problems),
        *compare_uncertainty(problems),
        *compare_coreset(problems),
        *compare_badge(problems),
    ]
    faults = [
        duplicates_in_a_batch(),
        origin_as_a_centre(),
        coreset_without_the_net(),
        formula_without_the_pseudo_label(problems[0]),
        expected_error_of_modal(),
        teach_of_modal(),
    ]
    print_table(picks)
    print_table(faults)
    print(f"written: {write_results('peers', picks + faults)}")


if __name__ == "__main__":
    main()

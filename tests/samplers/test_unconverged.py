"""A net that has not converged: what training left over decides, and that is said once for each set
of weights."""

import re
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from common import POOL, X, make_net, y
from needs import needs
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import TensorDataset

from skdal import DynamicALSampler, dynamical_sampling
from skdal.gradients import gradient_statistics, labeled_gradient
from skdal.parallel import SerialExecutor

SAID = "has not converged"


def untrained(**settings):
    """Return a net that knows few of its labels, and whose inner products are large."""
    torch.manual_seed(1)
    return make_net(**settings).initialize()


def sampler_of(net, **params):
    return DynamicALSampler(FrozenEstimator(net), batch_size=8, **params).fit(X, y)


def quiet(call):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return call()


CALLS = {
    "query": lambda net, **how: sampler_of(net, **how).query(POOL, 3),
    "best": lambda net, **how: sampler_of(net, **how).best(POOL, 3),
    "score_samples": lambda net, **how: sampler_of(net, **how).score_samples(POOL),
    "interaction": lambda net, **how: sampler_of(
        net, interaction=-1, update_size=1, **how
    ).query(POOL, 3),
    "candidates": lambda net, **how: sampler_of(
        net, interaction=-1, update_size=1, n_candidates=9, **how
    ).query(POOL, 3),
    "called": lambda net, **how: DynamicALSampler(batch_size=8, **how)(
        net, POOL, 3, X_labeled=X, y_labeled=y
    ),
    "function": lambda net, **how: dynamical_sampling(
        net, POOL, 3, X_labeled=X, y_labeled=y, batch_size=8, **how
    ),
    "shards": lambda net, **how: sampler_of(
        net, executor=SerialExecutor(shard_size=16), **how
    ).query(POOL, 3),
    "dataset": lambda net, **how: DynamicALSampler(batch_size=8, **how)(
        net, POOL, 3, X_labeled=TensorDataset(torch.as_tensor(X), torch.as_tensor(y))
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_it_is_said_once_for_each_set_of_weights(call):
    net = untrained()
    with pytest.warns(UserWarning, match=SAID):
        CALLS[call](net)
    for other in CALLS.values():
        quiet(lambda other=other: other(net))
    net.partial_fit(X, y)
    with pytest.warns(UserWarning, match=SAID):
        CALLS[call](net)


def numbers(text):
    """Return gamma, the two medians, how many times, the accuracy in percent and the number of
    labels."""
    form = (
        r"of \|(\S+) g \. g_S\| is (\S+), (\S+) times the (\S+) of \|g\|\^2, .*only (\d+)% of "
        r"its (\d+) labels"
    )
    return [float(found) for found in re.search(form, text).groups()]


@pytest.mark.parametrize("gamma", [2.0, -5.0])
def test_both_numbers(gamma):
    net = untrained()
    found = gradient_statistics(net, POOL, direction=labeled_gradient(net, X, y))
    length, dot = np.median(found.sq_norm), np.median(np.abs(gamma * found.dot))
    right = np.mean(net.predict(X) == y)
    assert dot > 9 * length
    assert right < 0.9
    with pytest.warns(UserWarning, match=SAID) as said:
        sampler_of(net, gamma=gamma).query(POOL, 1)
    wanted = [gamma, dot, dot / length, length, 100 * right, 30]
    np.testing.assert_allclose(numbers(str(said[0].message)), wanted, rtol=0.02)


def test_the_remedies_work():
    net = untrained()
    for gamma in (0, np.inf):  # length alone; and the inner product alone, as asked for
        quiet(lambda gamma=gamma: sampler_of(net, gamma=gamma).query(POOL, 3))
    sampler = DynamicALSampler(
        make_net(max_epochs=1, batch_size=-1, lr=0.05), batch_size=8, random_state=0
    ).fit(X, y)
    with pytest.warns(UserWarning, match=SAID):
        sampler.query(POOL, 3)
    sampler.estimator_.set_params(max_epochs=100)
    sampler.fit(X, y)
    quiet(lambda: sampler.query(POOL, 3))


@pytest.fixture
def answer_with(monkeypatch):
    """Return a function that says how the labeled set is answered."""
    return partial(monkeypatch.setattr, "skdal.samplers._unconverged.correct_answers")


@pytest.mark.parametrize(("right", "warns"), [(0.91, False), (0.89, True)])
def test_a_net_that_knows_its_labels_is_not_looked_down_on(right, warns, answer_with):
    asked = []

    def answers(classifier, X, y):
        asked.append(len(X))
        return y, np.arange(100) < 100 * right

    answer_with(answers)
    net = untrained()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        sampler_of(net).query(POOL, 3)
        sampler_of(net).query(POOL, 3)
    assert len(said) == warns
    assert asked == [30]  # the pass over the labeled set is made once


def test_no_pass_over_the_labeled_set_where_the_length_decides(answer_with):
    answer_with(None)
    quiet(lambda: sampler_of(untrained(), gamma=1e-3).query(POOL, 3))


def test_behind_a_pipeline():
    pipeline = make_pipeline(StandardScaler(), untrained())
    pipeline[0].fit(X)
    with pytest.warns(UserWarning, match=SAID):
        DynamicALSampler(batch_size=8)(pipeline, POOL, 3, X_labeled=X, y_labeled=y)


def test_of_many_shards_the_median_of_their_medians_counts():
    net = untrained()
    found = gradient_statistics(
        net, POOL, direction=labeled_gradient(net, X, y, batch_size=8), batch_size=8
    )
    parts = [slice(0, 16), slice(16, 32), slice(32, 41)]
    medians = np.median(
        [
            [np.median(found.sq_norm[k]), np.median(np.abs(2 * found.dot[k]))]
            for k in parts
        ],
        axis=0,
    )
    with pytest.warns(UserWarning, match=SAID) as said:
        CALLS["shards"](net)
    np.testing.assert_allclose(
        [numbers(str(said[0].message))[k] for k in (3, 1)], medians, rtol=0.006
    )


def test_kept_scores_tell_it_as_well(tmp_path):
    needs("pyarrow.parquet")
    executor = SerialExecutor(shard_size=16, scores_dir=tmp_path)
    for _ in range(2):  # the second time they are read
        net = untrained()
        with pytest.warns(UserWarning, match=SAID) as said:
            sampler_of(net, executor=executor).query(POOL, 3)
        numbers(str(said[0].message))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_penalised_net_at_its_minimum_is_not_one():
    """Though the labeled set's own gradient is large there, and the net knows few labels."""
    from test_penalty import net_of, to_the_minimum

    net = to_the_minimum(
        net_of("a sum", optimizer__param_groups=[], optimizer__weight_decay=300.0),
        dict.fromkeys(["first.weight", "first.bias", "second.weight"], 300.0),
    )
    assert np.mean(net.predict(X) == y) < 0.9
    quiet(lambda: sampler_of(net).query(POOL, 3))
    with pytest.warns(UserWarning, match=SAID):
        sampler_of(net, penalty=None).query(POOL, 3)


def test_other_labels_are_looked_at_again():
    net = untrained()
    known = net.predict(X)

    def ask(labels):
        return (
            DynamicALSampler(FrozenEstimator(net), batch_size=8)
            .fit(X, labels)
            .query(POOL, 3)
        )

    quiet(
        lambda: ask(known)
    )  # the inner product decides here too, but the net knows these labels
    with pytest.warns(UserWarning, match=SAID):
        ask((known + 1) % 3)

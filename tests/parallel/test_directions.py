"""On Ray: what is in the direction, and what is told of the scores, is as here."""

import numpy as np
import pytest
import torch
from common import POOL, X, make_net, y
from sklearn.frozen import FrozenEstimator

from skdal import DynamicALSampler

pytestmark = pytest.mark.slow


def net_of(**settings):
    torch.manual_seed(1)
    return make_net(**settings).initialize()


def sampler_of(net, **params):
    return DynamicALSampler(FrozenEstimator(net), batch_size=8, **params).fit(X, y)


def test_the_penalty_is_in_the_scores_of_workers_that_have_no_optimizer(two_workers):
    net = net_of(optimizer__weight_decay=0.3, max_epochs=3).partial_fit(X, y)
    here, there = (
        sampler_of(net, executor=executor).score_samples(POOL)
        for executor in (None, two_workers)
    )
    assert np.array_equal(here, there)
    assert not np.array_equal(here, sampler_of(net, penalty=None).score_samples(POOL))


@pytest.mark.parametrize("call", ["query", "score_samples"])
def test_a_net_that_has_not_converged_is_told(call, two_workers):
    sampler = sampler_of(net_of(), executor=two_workers)
    with pytest.warns(UserWarning, match="has not converged"):
        getattr(sampler, call)(POOL)

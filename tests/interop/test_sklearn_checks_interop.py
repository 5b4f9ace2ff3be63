"""scikit-learn's own checks of estimators, over the samplers around strategies of other
libraries."""

import pytest
from modAL.uncertainty import margin_sampling
from needs import needs
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from skdal.interop import ModalSampler, SkactivemlSampler

pool = needs("skactiveml.pool")

SAMPLERS = [
    ModalSampler(LogisticRegression(), strategy=margin_sampling, random_state=0),
    SkactivemlSampler(
        LogisticRegression(), strategy=pool.UncertaintySampling(), random_state=0
    ),
]
_checks = parametrize_with_checks(SAMPLERS)


@pytest.mark.parametrize(
    *_checks.args, ids=lambda o: getattr(o, "func", type(o)).__name__
)
def test_checks(estimator, check):
    check(estimator)

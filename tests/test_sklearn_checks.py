"""scikit-learn's own checks of estimators, over the samplers."""

import numpy as np
import pytest
import torch
from common import FOR_CLASSIFIERS, PROMISES, make_net, make_sampler
from lanes import slow_unless
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import validate_data
from skorch import NeuralNetClassifier

pytestmark = pytest.mark.contract

EXPECTED_OF_NETS = {
    "check_classifiers_classes": "labels of nets are integers, and the check has strings",
    "check_classifiers_train": "to skorch a list is several inputs, so a list of rows is refused",
    "check_classifier_data_not_an_array": "the data of nets has a length, and the check's has only "
    "__array__",
    "check_supervised_y_2d": "a second fit continues the net, which the check compares with the "
    "first",
    "check_fit_idempotent": "no two fits of a sampler share their random numbers",
}

FOR_NETS = {
    PROMISES[key].cls: key for key in PROMISES if key not in FOR_CLASSIFIERS
}.values()  # a key a class


class FloatNet(NeuralNetClassifier):
    """A net as large as its data asks for, which casts its input."""

    def fit(self, X, y, **fit_params):
        X, y = validate_data(self, X, y, dtype=np.float64)
        self.set_params(
            module__in_features=X.shape[1],
            module__out_features=max(2, int(np.max(y)) + 1),
        )
        return super().fit(X, y, **fit_params)

    def get_dataset(self, X, y=None):
        return super().get_dataset(
            validate_data(self, X, dtype=np.float64, reset=False), y
        )


class FloatLinear(torch.nn.Linear):
    """With dropout, for those that need it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.dropout = torch.nn.Dropout(1e-9)

    def forward(self, x):
        return super().forward(self.dropout(x))


def float_net():
    size = {
        "module__in_features": 1,
        "module__out_features": 2,
        "module__dtype": torch.float64,
    }
    return make_net(FloatLinear, FloatNet, lr=0.1, max_epochs=10, **size)


# one a base class every time, the others in `make test-all`
USUAL = {"margin", "coreset", "albl", "dynamical"}


def checks(samplers, expected_failed_checks=None):
    """`parametrize_with_checks` for samplers by key, with ids that fit a line."""
    mark = parametrize_with_checks(
        list(samplers.values()), expected_failed_checks=expected_failed_checks
    )
    usual = [id(sampler) for key, sampler in samplers.items() if key in USUAL]
    names, cases = mark.args
    params = []
    for case in cases:
        marks = getattr(case, "marks", ())  # a bare pair has none
        sampler, check = getattr(case, "values", case)
        params.append(slow_unless(id(sampler) in usual, sampler, check, marks=marks))
    return pytest.mark.parametrize(
        names, params, ids=lambda o: getattr(o, "func", type(o)).__name__
    )


@checks(
    {
        key: make_sampler(key, LogisticRegression(), **params)
        for key, params in FOR_CLASSIFIERS.items()
    }
)
def test_around_a_classifier(estimator, check):
    check(estimator)


@checks(
    {key: make_sampler(key, float_net()) for key in FOR_NETS},
    lambda estimator: EXPECTED_OF_NETS,
)
def test_around_a_net(estimator, check):
    check(estimator)


def test_at_most_ten_are_expected_to_fail():
    assert len(EXPECTED_OF_NETS) <= 10

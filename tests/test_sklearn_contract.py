"""scikit-learn's contract of a meta-estimator: metadata routing, cloning, parameters,
configuration, tags, repr."""

import numpy as np
import pytest
import sklearn
import torch
from common import POOL, PROMISES, POOL_y, X, make_net, make_sampler, trained_net, y
from needs import needs
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, UnsetMetadataPassedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted
from skorch.dataset import ValidSplit

from skdal import ActiveLearner
from skdal.samplers import MarginSampler, margin_sampling

pytestmark = pytest.mark.contract
every = pytest.mark.parametrize("key", PROMISES)
WEIGHT = np.random.default_rng(0).uniform(0.1, 5, len(X))


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


# --- metadata routing -----------------------------------------------------------------------------

AROUND = {
    "sampler": MarginSampler,
    "pool_subset": lambda estimator: make_sampler(
        "pool_subset", estimator, sampler=MarginSampler()
    ),
    "albl": lambda estimator: make_sampler(
        "albl", estimator, samplers=[MarginSampler()]
    ),
    "learner": lambda estimator: ActiveLearner(estimator, margin_sampling),
    "sampler in a sampler": lambda estimator: MarginSampler(MarginSampler(estimator)),
    "around a pipeline": lambda estimator: MarginSampler(
        make_pipeline(MinMaxScaler(), estimator)
    ),
    "in a pipeline": lambda estimator: make_pipeline(
        MinMaxScaler(), MarginSampler(estimator)
    ),
}
REQUESTS = {
    "of fit": (
        {"sample_weight": True},
        {"sample_weight": False},
        {"sample_weight": WEIGHT},
    ),
    "of fit and score": (
        {"sample_weight": True},
        {"sample_weight": True},
        {"sample_weight": WEIGHT},
    ),
    "by another name": (
        {"sample_weight": "w"},
        {"sample_weight": False},
        {"w": WEIGHT},
    ),
}
BARE = [name for name in AROUND if "pipeline" not in name]
# The score of scikit-learn's own Pipeline passes sample_weight=None on, so a step has to request it
# by that name.
PAIRS = [
    (name, request)
    for name in AROUND
    for request in REQUESTS
    if name in BARE or request == "of fit and score"
]


def like(make):
    """Return a function that makes what scikit-learn has for it alone."""
    return (
        (lambda estimator: make_pipeline(MinMaxScaler(), estimator))
        if "pipeline" in make
        else lambda e: e
    )


@pytest.mark.parametrize("name, request_", PAIRS)
def test_cross_validation_passes_metadata_on(name, request_, routing):
    of_fit, of_score, params = REQUESTS[request_]
    classifier = (
        LogisticRegression().set_fit_request(**of_fit).set_score_request(**of_score)
    )
    found = cross_validate(
        AROUND[name](classifier), X, y, params=params, error_score="raise"
    )
    expected = cross_validate(
        like(name)(classifier), X, y, params=params, error_score="raise"
    )
    assert found["test_score"].tolist() == expected["test_score"].tolist()
    assert len(set(expected["test_score"])) > 1


@pytest.mark.parametrize("name", AROUND)
def test_grid_search_passes_metadata_on(name, routing):
    classifier = (
        LogisticRegression()
        .set_fit_request(sample_weight=True)
        .set_score_request(sample_weight=True)
    )
    found, expected = (
        GridSearchCV(make(classifier), {}, cv=3, error_score="raise").fit(
            X, y, sample_weight=WEIGHT
        )
        for make in (AROUND[name], like(name))
    )
    assert found.predict_proba(POOL).tolist() == expected.predict_proba(POOL).tolist()
    unweighted = like(name)(LogisticRegression()).fit(X, y)
    assert found.predict_proba(POOL).tolist() != unweighted.predict_proba(POOL).tolist()


@pytest.mark.parametrize("make", AROUND.values(), ids=AROUND)
def test_what_nobody_has_requested_is_refused(make, routing):
    with pytest.raises(
        UnsetMetadataPassedError, match=r"LogisticRegression\.set_fit_request"
    ):
        make(LogisticRegression()).fit(X, y, sample_weight=WEIGHT)


@pytest.mark.parametrize("name", BARE)
def test_score_and_predict_get_what_they_have_requested(name, routing):
    asker = AROUND[name](LogisticRegression().set_score_request(sample_weight="w")).fit(
        X, y
    )
    right = asker.predict(POOL) == POOL_y
    weight = np.random.default_rng(1).uniform(size=len(POOL))
    assert asker.score(POOL, POOL_y, w=weight) == pytest.approx(
        np.average(right, weights=weight)
    )
    with pytest.raises(TypeError, match="unexpected"):
        asker.predict(POOL, other=1)


@pytest.mark.parametrize("name", BARE)
def test_without_routing_all_parameters_go_to_the_estimator(name):
    asker = AROUND[name](LogisticRegression()).fit(X, y, sample_weight=WEIGHT)
    expected = LogisticRegression().fit(X, y, sample_weight=WEIGHT)
    assert asker.predict_proba(POOL).tolist() == expected.predict_proba(POOL).tolist()
    weight = np.random.default_rng(1).uniform(size=len(POOL))
    assert asker.score(POOL, POOL_y, sample_weight=weight) == expected.score(
        POOL, POOL_y, weight
    )


def test_a_sampler_consumes_no_metadata_itself(routing):
    assert not hasattr(MarginSampler(LogisticRegression()), "set_fit_request")
    assert MarginSampler().get_metadata_routing() is not None


class Scaled(torch.nn.Linear):
    """Metadata of skorch's fit go to the forward pass."""

    seen = []

    def __init__(self):
        super().__init__(4, 3, dtype=torch.float64)

    def forward(self, x, factor=None):
        self.seen.append(factor)
        return super().forward(x)


NET_AROUND = {
    "sampler": MarginSampler,
    "learner": lambda net: ActiveLearner(net, margin_sampling),
    "around a pipeline": lambda net: MarginSampler(make_pipeline(MinMaxScaler(), net)),
    "in a pipeline": lambda net: make_pipeline(MinMaxScaler(), MarginSampler(net)),
}


@pytest.mark.parametrize("reset_optimizer", [True, False])
@pytest.mark.parametrize("name", NET_AROUND)
def test_nets_get_what_they_have_requested_at_every_fit(name, reset_optimizer, routing):
    """Later fits are skorch's partial_fit, and the request of fit holds for them, too."""
    asker = NET_AROUND[name](
        make_net(Scaled, max_epochs=1, batch_size=-1).set_fit_request(factor=True)
    )
    if name != "in a pipeline":
        asker.set_params(reset_optimizer=reset_optimizer)
    for factor in (2, 3):
        Scaled.seen.clear()
        asker.fit(X, y, factor=factor)
        assert [found for found in Scaled.seen if found is not None] == [factor]


def test_nets_refuse_what_they_have_not_requested(routing):
    with pytest.raises(TypeError, match="'factor'.* not routed to any object"):
        MarginSampler(make_net(Scaled)).fit(X, y, factor=2)


@pytest.mark.filterwarnings("ignore:the net's train_split")
def test_groups_go_to_the_split_of_a_net(routing):
    groups, seen = np.arange(len(X)) // 6, []

    class Split(GroupKFold):
        def split(self, X, y=None, groups=None):
            seen.append(groups)
            return super().split(X, y, groups)

    net = make_net(train_split=ValidSplit(Split(3), stratified=False)).set_fit_request(
        groups=False
    )
    sampler = MarginSampler(net)
    with pytest.raises(
        TypeError, match="forward"
    ):  # skorch passes to forward whatever its fit gets
        sampler.fit(X, y, groups=groups)
    assert seen[0].tolist() == groups.tolist()


def test_the_steps_before_a_net_get_what_they_have_requested(routing):
    scaler = StandardScaler().set_fit_request(sample_weight=True)
    net = make_net(Scaled).set_fit_request(factor=True)
    sampler = MarginSampler(make_pipeline(scaler, net)).fit(
        X, y, sample_weight=WEIGHT, factor=2
    )
    assert (
        sampler.estimator_[0].mean_.tolist()
        == StandardScaler().fit(X, sample_weight=WEIGHT).mean_.tolist()
    )


# --- the rest -------------------------------------------------------------------------------------


@every
def test_clones_are_untrained_and_keep_their_requests(key, routing):
    sampler = make_sampler(key, make_net().set_fit_request(factor=True)).fit(X, y)
    copy = clone(sampler)
    with pytest.raises(NotFittedError):
        check_is_fitted(copy)
    check_is_fitted(sampler)
    assert not hasattr(copy, "X_labeled_")
    assert copy.get_metadata_routing().consumes("fit", ["factor", "other"]) == {
        "factor"
    }


@every
def test_parameters_reach_the_net(key):
    sampler = make_sampler(key, make_net())
    assert sampler.get_params()["estimator__lr"] == 0.01
    assert "estimator__lr" not in sampler.get_params(deep=False)
    sampler.set_params(
        estimator__lr=0.5, estimator__optimizer=torch.optim.SGD, random_state=3
    ).fit(X, y)
    assert sampler.estimator_.optimizer_.param_groups[0]["lr"] == 0.5
    assert type(sampler.estimator_.optimizer_) is torch.optim.SGD


def test_a_changed_parameter_of_the_estimator_counts_from_the_next_cold_fit_on():
    sampler = MarginSampler(make_net(), warm_start=False).fit(X, y)
    assert (
        sampler.set_params(estimator__max_epochs=1).fit(X, y).estimator_.max_epochs == 1
    )


@pytest.mark.parametrize("key", ["dynamical", "margin", "coreset"])
@pytest.mark.parametrize(
    "config",
    [
        {"assume_finite": True},
        {"transform_output": "pandas"},
        {"print_changed_only": False},
    ],
)
def test_the_configuration_changes_nothing(key, config):
    sampler = make_sampler(
        key, make_pipeline(FunctionTransformer(), FrozenEstimator(trained_net()))
    ).fit(X, y)
    expected = sampler.query(POOL, 5).tolist()
    sampler = clone(sampler)
    if "transform_output" in config:
        sampler.estimator.steps[0][1].set_output(
            transform="default"
        )  # a net takes no frames
    with sklearn.config_context(**config):
        assert sampler.fit(X, y).query(POOL, 5).tolist() == expected


TO_FRAME = [
    make_pipeline(StandardScaler(), LogisticRegression()),
    make_pipeline(
        StandardScaler(),
        FunctionTransformer(np.asarray).set_output(transform="default"),
        make_net(),
    ),
]


@pytest.mark.parametrize("pipeline", TO_FRAME, ids=["classifier", "net with a cast"])
@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_set_output_before_a_classifier(pipeline, container):
    needs(container)
    samplers = []
    for output in ("default", container):
        steps = clone(pipeline)
        steps[0].set_output(transform=output)
        samplers.append(MarginSampler(steps, random_state=0).fit(X, y).fit(X, y))
    expected, found = (sampler.score_samples(POOL) for sampler in samplers)
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize(
    "estimator",
    [LogisticRegression(), make_net(), make_pipeline(StandardScaler(), make_net())],
)
def test_tags_are_those_of_the_estimator(estimator):
    tags, own = get_tags(MarginSampler(estimator)), get_tags(estimator)
    for name in ("estimator_type", "classifier_tags", "target_tags", "input_tags"):
        assert getattr(tags, name) == getattr(own, name)
    assert get_tags(MarginSampler()).estimator_type is None


@every
def test_repr_as_text_and_html(key):
    sampler = make_sampler(key, make_net())
    assert type(sampler).__name__ in repr(sampler)
    page = sampler._repr_html_()
    assert type(sampler).__name__ in page
    assert "NeuralNetClassifier" in page
    assert "NeuralNetClassifier" in sampler.fit(X, y)._repr_html_()

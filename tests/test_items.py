"""What an item of a Dataset is, samples of many sizes, and errors that tell which sample is to
blame."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from common import PROMISES, assert_same, global_rng, make_sampler, plain, snapshot
from needs import needs
from PIL import Image
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, Checkpoint, EarlyStopping
from skorch.dataset import ValidSplit
from skorch.helper import predefined_split
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset

from skdal import ActiveLearner, DynamicALSampler
from skdal.exceptions import (
    FailingModuleError,
    InvalidDataError,
    InvalidLabelsError,
    InvalidParameterError,
    InvalidSampleError,
    UnsupportedEstimatorError,
)
from skdal.gradients import gradient_statistics, labeled_gradient
from skdal.parallel import SerialExecutor
from skdal.pools import ImageFolderPool
from skdal.samplers import MarginSampler, PoolSubset

ROWS, MASKS = (
    torch.as_tensor(a, dtype=torch.float32)
    for a in np.random.default_rng(0).normal(size=(2, 40, 4))
)
LABELS = np.arange(40) % 3
LOOKING = [
    "dynamical",
    "gradient_length",
    "egl",
    "margin",
    "coreset",
    "badge",
    "mc_dropout",
    "albl",
    "pool_subset",
]


class Items(Dataset):
    """A Dataset of items made by a function of the position."""

    def __init__(self, make, n):
        self.make, self.n = make, n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return self.make(range(self.n)[i])


def items(make, rows=range(40)):
    return Items(lambda i: make(rows[i]), len(rows))


class Both(nn.Module):
    """Takes an input of one part or of two."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, 5), nn.Tanh(), nn.Dropout(0.3), nn.Linear(5, 3)
        )

    def forward(self, X):
        return self.layers(X[0] * X[1] if isinstance(X, (list, tuple)) else X)


class Two(Both):
    """Takes an input of two parts alone."""

    def forward(self, X):
        x, mask = X
        return self.layers(x * mask)


class One(Both):
    """Takes an input of one part alone."""

    def forward(self, X):
        return self.layers(X)


def net(module=Both, **settings):
    settings = {
        "max_epochs": 2,
        "train_split": None,
        "verbose": 0,
        "criterion": nn.CrossEntropyLoss,
    } | settings
    return NeuralNetClassifier(module, **settings)


def focal(criterion):
    return linear(criterion=criterion, predict_nonlinearity=SOFTMAX)


def trained(module=Both, **settings):
    torch.manual_seed(0)
    return net(module, **settings).initialize()


def answers(sampler, pool, n=4):
    picks, scores = sampler.query(pool, n, return_scores=True)
    return (
        picks.tolist(),
        scores.tolist(),
        getattr(sampler, "score_samples", lambda pool: LABELS)(pool).tolist(),
    )


# --- an input of two parts, or one with its label -------------------------------------------------

LABELED = items(lambda i: ((ROWS[i], MASKS[i]), int(LABELS[i])), range(20))
WHOLE = items(lambda i: (ROWS[i], MASKS[i]), range(20, 40))
TOLD = items(lambda i: ((ROWS[i], MASKS[i]), 0), range(20, 40))
POOLS = {
    "tuples": WHOLE,
    "lists": items(lambda i: [ROWS[i], MASKS[i]], range(20, 40)),
    "Subset": Subset(items(lambda i: (ROWS[i], MASKS[i])), range(20, 40)),
    "ConcatDataset": ConcatDataset(
        [Subset(WHOLE, range(9)), Subset(WHOLE, range(9, 20))]
    ),
    "TensorDataset": TensorDataset(ROWS[20:], MASKS[20:]),
}


@pytest.mark.parametrize("key", LOOKING)
@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_inputs_of_two_parts_without_labels_are_told_by_the_labeled_set(key, pool):
    sampler = make_sampler(key, FrozenEstimator(trained())).fit(LABELED)
    expected = make_sampler(key, FrozenEstimator(trained())).fit(LABELED)
    assert answers(sampler, pool) == answers(expected, TOLD)


@pytest.mark.parametrize(
    "executor", [SerialExecutor(shard_size=1), SerialExecutor(shard_size=7)]
)
def test_shards_read_items_as_the_query_does(executor):
    sampler = DynamicALSampler(
        FrozenEstimator(trained()), batch_size=1, executor=executor
    ).fit(LABELED)
    assert answers(sampler, WHOLE) == answers(sampler, TOLD)


@pytest.mark.slow
def test_and_so_does_ray():
    needs("ray")
    from skdal.parallel import RayExecutor

    with RayExecutor(address="local", num_workers=1) as executor:
        sampler = MarginSampler(FrozenEstimator(trained()), executor=executor).fit(
            LABELED
        )
        assert answers(sampler, WHOLE) == answers(sampler, TOLD)


@pytest.mark.parametrize("call", ["call", "best", "learner"])
def test_every_way_to_ask_reads_items_alike(call):
    def picks(pool):
        sampler = DynamicALSampler(FrozenEstimator(trained()), random_state=0)
        if call == "call":
            return sampler(trained(), pool, 4, X_labeled=LABELED)
        if call == "best":
            return sampler.fit(LABELED).best(pool, 4).positions
        return ActiveLearner(FrozenEstimator(trained()), sampler, LABELED).query(
            pool, 4
        )[0]

    assert picks(WHOLE).tolist() == picks(TOLD).tolist()


def test_a_pool_with_labels_beside_labeled_arrays_is_read_by_the_arrays():
    one_hot = items(lambda i: (ROWS[i], torch.eye(4)[LABELS[i]]), range(20, 40))
    sampler = DynamicALSampler(FrozenEstimator(trained())).fit(
        ROWS[:20].numpy(), LABELS[:20]
    )
    assert answers(sampler, one_hot) == answers(sampler, ROWS[20:].numpy())


@pytest.mark.parametrize(
    "module, told", [(Two, TOLD), (One, items(lambda i: ROWS[i], range(20, 40)))]
)
def test_the_module_tells_where_no_labeled_set_is_known(module, told):
    found, expected = (
        gradient_statistics(trained(module), pool) for pool in (WHOLE, told)
    )
    assert found.sq_norm.tolist() == expected.sq_norm.tolist()
    asked, wanted = (
        MarginSampler()(trained(module), pool, 5) for pool in (WHOLE, told)
    )
    assert asked.tolist() == wanted.tolist()


@pytest.mark.parametrize(
    "ask",
    [
        lambda: gradient_statistics(trained(), WHOLE),
        lambda: MarginSampler()(trained(), WHOLE, 2),
        lambda: make_sampler("random")(trained(), WHOLE, 2),
        lambda: DynamicALSampler(gamma=0)(trained(), WHOLE, 2),
        lambda: MarginSampler(net()).fit(WHOLE, LABELS[:20]),
        lambda: labeled_gradient(trained(), WHOLE, LABELS[:20]),
    ],
)
def test_what_nothing_tells_is_refused(ask):
    with pytest.raises(
        InvalidDataError,
        match=r"(?s)label or an input of two parts.*\(\(first, second\), 0\)",
    ):
        ask()


def test_both_remedies_of_it_work():
    told, by_labeled = (
        MarginSampler()(trained(), TOLD, 3),
        MarginSampler()(trained(), WHOLE, 3, X_labeled=LABELED),
    )
    assert told.tolist() == by_labeled.tolist()


@pytest.mark.parametrize("module", [Two, One])
def test_labels_beside_a_dataset_of_two_parts(module):
    rows = items(lambda i: (ROWS[i], MASKS[i]), range(20))
    told = items(
        lambda i: ((ROWS[i], MASKS[i]) if module is Two else ROWS[i], int(LABELS[i])),
        range(20),
    )
    found, expected = (
        DynamicALSampler(net(module), random_state=0).fit(*labeled)
        for labeled in ((rows, LABELS[:20]), (told,))
    )
    assert answers(found, WHOLE) == answers(
        expected, TOLD if module is Two else ROWS[20:]
    )


def test_sequences_of_two_numbers_are_no_pairs():
    sequences = [[1, 2, 3], [4, 5], [6, 7, 8, 9], [2, 1]]
    labeled = items(lambda i: (sequences[i], i % 3), range(3))
    sampler = MarginSampler(FrozenEstimator(trained(Bag, **PADDED))).fit(labeled)
    tensors = items(lambda i: torch.tensor(sequences[i]), [1, 3, 2, 0])
    assert answers(sampler, items(lambda i: sequences[i], [1, 3, 2, 0])) == answers(
        sampler, tensors
    )


# --- samples of many sizes ------------------------------------------------------------------------


def pad(batch):
    rows = [torch.as_tensor(x) for x, _ in batch]
    return pad_sequence(rows, batch_first=True), torch.tensor(
        [int(label) for _, label in batch]
    )


PADDED = {"iterator_train__collate_fn": pad, "iterator_valid__collate_fn": pad}


class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag, self.drop, self.head = (
            nn.EmbeddingBag(10, 4, padding_idx=0),
            nn.Dropout(0.3),
            nn.Linear(4, 3),
        )

    def forward(self, x):
        return self.head(self.drop(self.bag(x)))


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.drop, self.head = (
            nn.Conv2d(1, 4, 3),
            nn.Dropout(0.3),
            nn.Linear(4, 3),
        )

    def forward(self, x):
        return self.head(self.drop(self.conv(x).relu().mean((2, 3))))


def photo(height):
    return torch.sin(torch.arange(height * 9.0)).reshape(1, height, 9) * height / 10


def text(n):
    return torch.arange(n) * n % 9 + 1


SIZES = [5, 8, 3, 11, 9, 7]
MANY = {
    "texts": (Bag, PADDED, text),
    "photos": (Convolutional, {"batch_size": 1}, photo),
}


@pytest.mark.parametrize("key", LOOKING)
@pytest.mark.parametrize("kind", MANY)
def test_samples_of_many_sizes_score_the_same_in_every_order(key, kind):
    module, settings, make = MANY[kind]
    labeled = items(lambda n: (make(n), n % 3), [5, 7, 9, 4])
    params = {
        name: None for name in ("batch_size", "sampler") if name in PROMISES[key].params
    }
    sampler = make_sampler(
        key, FrozenEstimator(trained(module, **settings)), **params
    ).fit(labeled)
    for sizes in (SIZES, SIZES[::-1]):
        picks, scores = sampler.query(
            items(make, sizes), 6 if key != "badge" else 1, return_scores=True
        )
        assert len(set(picks.tolist())) == len(picks)
        if not hasattr(sampler, "score_samples"):
            continue
        alone = [float(sampler.score_samples(items(make, [n]))[0]) for n in sizes]
        np.testing.assert_allclose(
            sampler.score_samples(items(make, sizes)), alone, rtol=1e-5
        )
        assert picks.tolist() == np.argsort(-np.array(alone), kind="stable").tolist()


@pytest.mark.parametrize("kind", MANY)
def test_they_are_trained_on_and_taught(kind):
    module, settings, make = MANY[kind]
    learner = ActiveLearner(net(module, **settings), MarginSampler())
    learner.fit(items(lambda n: (make(n), n % 3), [5, 7, 9, 4]))
    picks, _ = learner.query(items(make, SIZES), 2)
    learner.teach(items(lambda n: (make(n), n % 3), [SIZES[i] for i in picks]))
    assert len(learner.X_training) == 6


def test_the_sampler_alone_may_ask_one_by_one():
    sampler = DynamicALSampler(FrozenEstimator(trained(Convolutional)), batch_size=1)
    sampler.fit(items(lambda n: (photo(n), n % 3), [5, 7, 9]))
    assert sampler.score_samples(items(photo, SIZES)).shape == (6,)


def test_a_list_of_texts_before_a_pipeline():
    texts = [f"w{i % 7} w{i % 5} w{i % 3}" for i in range(80)]
    pipeline = make_pipeline(
        TfidfVectorizer(dtype=np.float32),
        net(nn.Linear, module__in_features=7, module__out_features=3),
    )
    sampler = MarginSampler(pipeline, random_state=0).fit(texts[:40], LABELS)
    assert answers(sampler, texts[40:]) == answers(
        sampler, np.asarray(texts[40:], dtype=object)
    )
    learner = ActiveLearner(pipeline, MarginSampler(), texts[:40], LABELS)
    picks, samples = learner.query(texts[40:], 3)
    learner.teach(samples, LABELS[picks])
    assert learner.X_training == texts[:40] + [texts[40 + i] for i in picks]


# --- which sample is to blame ---------------------------------------------------------------------

FLAT = {"module__in_features": 4, "module__out_features": 3}


def linear(**settings):
    return net(nn.Linear, **FLAT, **settings)


def broken(make, at, n=40):
    """Return a Dataset of rows with another item at one position."""
    return Items(lambda i: make(i) if i == at else ROWS[i], n)


def fail(i):
    raise KeyError("lost")


ODD = {
    "other length": (lambda i: ROWS[i][:3], "float32 tensor (3,)", "collate_fn"),
    "lost": (fail, "cannot be fetched", "__getitem__"),
    "text": (lambda i: "a word", "str 'a word'", "text or None"),
    "image": (lambda i: Image.new("RGB", (2, 2)), "Image", "transform"),
    "objects": (
        lambda i: ROWS[i].numpy().astype(object),
        "object array (4,)",
        "astype(numpy.float32)",
    ),
    "big-endian": (
        lambda i: ROWS[i].numpy().astype(">f4"),
        ">f4",
        "astype(numpy.float32)",
    ),
}


@pytest.mark.parametrize(
    "key",
    ["dynamical", "margin", "coreset", "badge", "egl", "entropy_gradient", "albl"],
)
@pytest.mark.parametrize("odd", ODD)
def test_the_position_in_the_pool_is_told(key, odd):
    make, *words = ODD[odd]
    sampler = make_sampler(key, FrozenEstimator(trained(nn.Linear, **FLAT))).fit(
        ROWS.numpy(), LABELS
    )
    before, state = snapshot(sampler.estimator_), global_rng()
    with pytest.raises(InvalidSampleError) as caught:
        sampler.query(broken(make, 27), 2)
    assert "sample 27 of the pool" in str(caught.value), str(caught.value)
    assert caught.value.__cause__ is not None
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert_same(snapshot(sampler.estimator_), before)
    assert global_rng() == state


@pytest.mark.parametrize(
    "wrap",
    [lambda pool: Subset(pool, range(1, 40)), lambda pool: ConcatDataset([pool, pool])],
)
@pytest.mark.parametrize("sampler", [MarginSampler, DynamicALSampler])
def test_positions_are_those_of_the_pool_that_was_passed(wrap, sampler):
    at = {Subset: 26, ConcatDataset: 27}[type(wrap(broken(fail, 27)))]
    asked = sampler(
        FrozenEstimator(trained(nn.Linear, **FLAT)),
        executor=SerialExecutor(shard_size=4),
    )
    asked.set_params(**({"batch_size": 4} if sampler is DynamicALSampler else {}))
    with pytest.raises(InvalidSampleError, match=f"sample {at} of the pool"):
        asked.fit(ROWS, LABELS).query(wrap(broken(fail, 27)), 2)
    subset = PoolSubset(
        FrozenEstimator(trained(nn.Linear, **FLAT)), sampler=sampler(), subset_size=39
    )
    with pytest.raises(InvalidSampleError, match="sample 27 of the pool"):
        for seed in range(3):  # two of which see it
            subset.set_params(random_state=seed).fit(ROWS, LABELS).query(
                broken(fail, 27), 2
            )


def test_a_gray_image_is_named_by_its_key(tmp_path):
    for i in range(6):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{i}.png")

    def as_tensor(image):
        return torch.ones(1 if is_gray(image) else 3, 4, 4)

    Image.new("RGB", (4, 4), (9, 9, 9)).save(tmp_path / "4.png")

    def is_gray(image):
        return image.getpixel((0, 0)) == (9, 9, 9)

    module = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    sampler = DynamicALSampler(FrozenEstimator(net(module).initialize()), gamma=0).fit(
        torch.ones(6, 3, 4, 4), LABELS[:6]
    )
    with pytest.raises(
        InvalidSampleError,
        match=r"(?s)sample 4 of the pool \(4.png\).*tensor \(1, 4, 4\).*\(3, 4, 4\)",
    ):
        sampler.query(ImageFolderPool(tmp_path, transform=as_tensor), 2)


def test_the_position_in_the_labeled_set_is_told_by_a_fit():
    rows = Items(lambda i: (ROWS[i][:3] if i == 33 else ROWS[i], 0), 40)
    for shuffle in (False, True):
        with pytest.raises(
            InvalidSampleError, match=r"sample 33 of the labeled set.*\(3,\).*\(4,\)"
        ):
            MarginSampler(linear(iterator_train__shuffle=shuffle)).fit(rows)


def test_and_by_a_query():
    rows = Items(lambda i: (ROWS[i][:3] if i == 33 else ROWS[i], 0), 40)
    for key in ("dynamical", "coreset"):
        with pytest.raises(InvalidSampleError, match=r"sample 33 of the labeled set"):
            make_sampler(key)(trained(nn.Linear, **FLAT), ROWS, 2, X_labeled=rows)


def test_a_token_that_the_embedding_does_not_have():
    tokens = np.ones((40, 3), dtype=np.int64)
    tokens[33, 1] = 12
    with pytest.raises(
        InvalidSampleError,
        match="sample 33 of the labeled set.*not taken by the net's module.*to be 12",
    ):
        MarginSampler(net(Bag)).fit(tokens, LABELS)
    for key in ("dynamical", "margin", "coreset", "mc_dropout"):
        sampler = make_sampler(key, FrozenEstimator(trained(Bag))).fit(
            tokens[:20], LABELS[:20]
        )
        with pytest.raises(InvalidSampleError, match="sample 33 of the pool"):
            sampler.query(tokens, 2)


class Buggy(nn.Linear):
    """Fails as a module with a bug does, on all samples or on those below a value."""

    fails = staticmethod(lambda x: undefined)  # noqa: F821
    below = np.inf

    def forward(self, input):
        if (input[:, 0] < self.below).any():
            self.fails(input)
        return super().forward(input)


def failed_assertion(x):
    raise AssertionError


BUGS = {
    "NameError": lambda x: undefined,  # noqa: F821
    "AttributeError": lambda x: x.no_such_thing,
    "AssertionError": failed_assertion,
    "KeyError": lambda x: {}["mask"],
    "RuntimeError": lambda x: x @ x[:, :3],
}
ASKED_OF_MODULES = {
    "fit": lambda net: MarginSampler(net).fit(ROWS, LABELS),
    "margin": lambda net: make_sampler("margin")(net.initialize(), ROWS, 2),
    "coreset": lambda net: make_sampler("coreset")(
        net.initialize(), ROWS, 2, X_labeled=ROWS
    ),
    "gradients": lambda net: gradient_statistics(net.initialize(), ROWS),
    "labeled gradient": lambda net: labeled_gradient(net.initialize(), ROWS, LABELS),
}


@pytest.mark.parametrize("ask", ASKED_OF_MODULES.values(), ids=ASKED_OF_MODULES)
@pytest.mark.parametrize("bug", BUGS)
def test_a_module_that_fails_on_all_samples_is_to_blame(bug, ask, monkeypatch):
    monkeypatch.setattr(Buggy, "fails", staticmethod(BUGS[bug]))
    with pytest.raises(
        FailingModuleError, match=f"^forward of Buggy raises {bug} for each of"
    ) as caught:
        ask(net(Buggy, **FLAT))
    assert type(caught.value.__cause__).__name__ == bug


@pytest.mark.parametrize("ask", ASKED_OF_MODULES.values(), ids=ASKED_OF_MODULES)
@pytest.mark.parametrize("bug", BUGS)
def test_a_sample_that_alone_makes_the_module_fail_is_to_blame(bug, ask, monkeypatch):
    monkeypatch.setattr(Buggy, "fails", staticmethod(BUGS[bug]))
    lowest = int(ROWS[:, 0].argmin())
    monkeypatch.setattr(Buggy, "below", float(ROWS[:, 0].sort().values[:2].mean()))
    with pytest.raises(InvalidSampleError, match=f"^sample {lowest} of the") as caught:
        ask(net(Buggy, **FLAT))
    assert type(caught.value.__cause__).__name__ == bug


class BuggyInTraining(nn.Linear):
    def forward(self, input):
        if self.training:
            Buggy.fails(input)
        return super().forward(input)


@pytest.mark.parametrize("bug", BUGS)
def test_a_module_that_fails_in_training_mode_alone_is_to_blame(bug, monkeypatch):
    monkeypatch.setattr(Buggy, "fails", staticmethod(BUGS[bug]))
    with pytest.raises(
        FailingModuleError, match=f"raises {bug} in training mode, and not in eval"
    ) as caught:
        MarginSampler(net(BuggyInTraining, **FLAT)).fit(ROWS, LABELS)
    assert type(caught.value.__cause__).__name__ == bug


def test_a_callback_that_fails_is_not_taken_for_the_module():
    class Failing(Callback):
        def on_batch_end(self, net, **kwargs):
            raise ZeroDivisionError("of the callback")

    estimator = net(nn.Linear, **FLAT, callbacks=[Failing()])
    with pytest.raises(ZeroDivisionError, match="of the callback"):
        MarginSampler(estimator).fit(ROWS, LABELS)


class BuggyLoss(NeuralNetClassifier):
    n_good = 0

    def get_loss(self, *args, **kwargs):
        if kwargs["training"] or self.n_good == 0:
            return undefined  # noqa: F821
        return super().get_loss(*args, **kwargs)


@pytest.mark.parametrize("key", ["margin", "dynamical"])
@pytest.mark.parametrize("n_good", [0, 1])
def test_a_loss_that_fails_is_to_blame(key, n_good, monkeypatch):
    monkeypatch.setattr(BuggyLoss, "n_good", n_good)
    settings = {"criterion": nn.CrossEntropyLoss, "train_split": None, "verbose": 0}
    sampler = make_sampler(key, BuggyLoss(nn.Linear, **FLAT, **settings))
    with pytest.raises(
        UnsupportedEstimatorError, match="get_loss of BuggyLoss fails.*NameError"
    ):
        sampler.fit(ROWS, LABELS)


class Named(Callback):
    """Fails in functions that are called as those of skorch and torch are."""

    def on_batch_end(self, net, **kwargs):
        self.infer()

    def infer(self):
        self.get_loss()

    def get_loss(self):
        raise KeyError("of the callback")


def test_names_of_functions_do_not_tell_what_failed():
    with pytest.raises(KeyError, match="of the callback"):
        MarginSampler(linear(callbacks=[Named()])).fit(ROWS, LABELS)

    def get_loss(i):
        raise KeyError("of the item")

    rows = items(lambda i: (get_loss(i) if i == 33 else ROWS[i], int(LABELS[i])))
    with pytest.raises(InvalidSampleError, match="sample 33 of the labeled set"):
        MarginSampler(linear()).fit(rows)


def stop(i):
    raise StopIteration


ENDING = {
    "fit": lambda data: MarginSampler(linear(batch_size=4)).fit(data),
    "learner": lambda data: ActiveLearner(linear(batch_size=4), X_training=data),
    "shuffled": lambda data: MarginSampler(
        linear(batch_size=4, iterator_train__shuffle=True)
    ).fit(data),
    "split": lambda data: MarginSampler(
        linear(batch_size=4, train_split=ValidSplit(2))
    ).fit(data, LABELS),
    "query": lambda data: (
        MarginSampler(FrozenEstimator(trained(nn.Linear, **FLAT, batch_size=4)))
        .fit(ROWS, LABELS)
        .query(data, 2)
    ),
    "gradients": lambda data: gradient_statistics(
        trained(nn.Linear, **FLAT), data, batch_size=4
    ),
    "labeled gradient": lambda data: labeled_gradient(
        trained(nn.Linear, **FLAT), data, batch_size=4
    ),
    "representations": lambda data: make_sampler("coreset")(
        trained(nn.Linear, **FLAT), ROWS, 2, X_labeled=data
    ),
}


@pytest.mark.filterwarnings("ignore:the net's train_split")
@pytest.mark.parametrize("ask", ENDING.values(), ids=ENDING)
@pytest.mark.parametrize("at", [0, 1, 19, 38])
@pytest.mark.parametrize("lost", [stop, fail])
def test_an_item_that_ends_the_pass_is_named(lost, at, ask):
    data = items(lambda i: (lost(i) if i == at else ROWS[i], int(LABELS[i])))
    with pytest.raises(
        InvalidSampleError, match=f"^sample {at} of the .*__getitem__"
    ) as caught:
        ask(data)
    assert type(caught.value.__cause__) is type(raised(lost))


def raised(function):
    try:
        function(0)
    except Exception as error:
        return error


@pytest.mark.slow
def test_an_item_that_ends_the_pass_of_workers_is_named():
    data = items(lambda i: (stop(i) if i == 27 else ROWS[i], int(LABELS[i])))
    with pytest.raises(InvalidSampleError, match="^sample 27 of the labeled set"):
        MarginSampler(linear(batch_size=4, iterator_train__num_workers=1)).fit(data)


def test_an_item_of_the_validation_set_that_ends_the_pass_is_named():
    data = items(lambda i: (stop(i) if i == 27 else ROWS[i], int(LABELS[i])))
    with pytest.raises(InvalidSampleError, match="^sample 27 of the validation set"):
        MarginSampler(linear(batch_size=4, train_split=predefined_split(data))).fit(
            ROWS, LABELS
        )


class Short(NeuralNetClassifier):
    """Ends its epochs early on purpose."""

    def run_single_epoch(self, iterator, *args, **kwargs):
        some = None if iterator is None else list(iterator)[:2]
        super().run_single_epoch(some, *args, **kwargs)


def test_a_net_may_end_its_epochs_early():
    estimator = Short(
        nn.Linear,
        **FLAT,
        criterion=nn.CrossEntropyLoss,
        train_split=None,
        batch_size=4,
        verbose=0,
    )
    MarginSampler(estimator).fit(ROWS, LABELS)


@pytest.mark.parametrize(
    "error", [MemoryError, KeyboardInterrupt, torch.OutOfMemoryError]
)
def test_interrupts_and_lack_of_memory_pass_through(error):
    def stop(i):
        raise error

    with pytest.raises(error):
        MarginSampler(linear()).fit(
            Items(lambda i: (stop(i) if i == 33 else ROWS[i], 0), 40)
        )
    with pytest.raises(error):
        MarginSampler(FrozenEstimator(trained(nn.Linear, **FLAT))).fit(
            ROWS, LABELS
        ).query(broken(stop, 27), 2)


# --- labels in the items of a Dataset -------------------------------------------------------------

NO_LABEL = {
    "None": None,
    "nan": float("nan"),
    "numpy nan": np.float64("nan"),
    "tensor nan": torch.tensor(float("nan")),
    "<NA>": pd.NA,
    "-1": -1,
    "tensor -1": torch.tensor(-1),
}


def labeled_items(label, at):
    """Return a labeled Dataset in which some samples have another label, one of each kind of
    number."""
    kind = type(label) if isinstance(label, (torch.Tensor, np.generic)) else int
    make = torch.tensor if kind is torch.Tensor else int
    return items(lambda i: (ROWS[i], label if i in at else make(LABELS[i])))


FIRST_LABELED = {
    "fit": lambda data: MarginSampler(linear(batch_size=8)).fit(data),
    "shuffled fit": lambda data: MarginSampler(
        linear(batch_size=8, iterator_train__shuffle=True)
    ).fit(data),
    "query": lambda data: DynamicALSampler(batch_size=8)(
        trained(nn.Linear, **FLAT), ROWS, 2, X_labeled=data
    ),
    "gradient": lambda data: labeled_gradient(
        trained(nn.Linear, **FLAT), data, batch_size=8
    ),
}


@pytest.mark.parametrize("ask", FIRST_LABELED.values(), ids=FIRST_LABELED)
@pytest.mark.parametrize("at", [0, 1, 33])
@pytest.mark.parametrize("label", NO_LABEL.values(), ids=NO_LABEL)
def test_an_item_without_a_label_is_named(label, at, ask):
    data = labeled_items(label, {at, 35})
    with pytest.raises(
        InvalidLabelsError, match=f'sample {at} of the labeled set.*"no label".*Subset'
    ) as caught:
        ask(data)
    remedy = re.search(r"positions = (.*?), then", str(caught.value))[1]
    names = {"X": data, "pandas": pd}
    names["positions"] = eval(remedy, names)
    assert names["positions"] == [i for i in range(40) if i not in (at, 35)]
    ask(eval("Subset(X, positions)", names | {"Subset": Subset}))


@pytest.mark.parametrize("ask", FIRST_LABELED.values(), ids=FIRST_LABELED)
@pytest.mark.parametrize("label", [7, -3, torch.tensor(7)])
def test_an_item_with_a_label_that_the_net_does_not_have_is_named(label, ask):
    with pytest.raises(
        InvalidLabelsError, match="sample 33 of the labeled set.*integers from 0 to"
    ):
        ask(labeled_items(label, {33}))


# --- remedies, each of which works ----------------------------------------------------------------

TRIPLES = items(lambda i: (ROWS[i], int(LABELS[i]), f"{i}.png"))
PAIRS = items(lambda i: TRIPLES[i][:2])
FRAME = pd.DataFrame(ROWS.numpy(), columns=["a", "b", "c", "d"])
DICTS = items(lambda i: {"input": ROWS[i], "label": int(LABELS[i])})
SCALED = make_pipeline(StandardScaler().set_output(transform="pandas"), linear())
LOADER = DataLoader(PAIRS, 8)


def margin(labeled=(ROWS, LABELS), pool=ROWS, estimator=None):
    return (
        MarginSampler(linear() if estimator is None else estimator, random_state=0)
        .fit(*labeled)
        .query(pool, 2)
    )


REMEDIES = {
    "triples": (
        lambda: margin((TRIPLES,)),
        lambda: margin((PAIRS,)),
        r"tuple \(.*, int, str '0.png'\).*item\[:2\]",
    ),
    "triples, y": (
        lambda: margin((TRIPLES, LABELS)),
        lambda: margin((PAIRS, LABELS)),
        r"sample 0 .*item\[:2\]",
    ),
    "pool of triples": (
        lambda: margin(pool=TRIPLES),
        lambda: margin(pool=PAIRS),
        r"item of the pool.*item\[:2\]",
    ),
    "loader": (
        lambda: margin(pool=LOADER),
        lambda: margin(pool=LOADER.dataset),
        "X.dataset",
    ),
    "labeled loader": (
        lambda: margin((LOADER,)),
        lambda: margin((LOADER.dataset,)),
        "X.dataset",
    ),
    "label in a dict": (
        lambda: margin((DICTS, LABELS), DICTS),
        lambda: margin(
            (items(lambda i: ({"input": ROWS[i]}, int(LABELS[i]))),),
            items(lambda i: {"input": ROWS[i]}),
        ),
        r"forward takes \(input.*\(dict, label\)",
    ),
    "dicts alone": (
        lambda: margin((DICTS,)),
        lambda: margin(
            (items(lambda i: ({"input": ROWS[i]}, int(LABELS[i]))),), {"input": ROWS}
        ),
        "dict of inputs, label",
    ),
    "frame": (
        lambda: margin((FRAME, LABELS), FRAME),
        lambda: margin(
            (FRAME.to_numpy(np.float32), LABELS), FRAME.to_numpy(np.float32)
        ),
        r"'a'.*forward, which takes input.*to_numpy\(\)",
    ),
    "set_output": (
        lambda: margin((ROWS.numpy(), LABELS), ROWS.numpy(), SCALED),
        lambda: margin(
            (ROWS.numpy(), LABELS),
            ROWS.numpy(),
            make_pipeline(StandardScaler().set_output(transform="default"), linear()),
        ),
        r"'x0'.*forward, which takes input.*set_output\(transform=.default.\)",
    ),
    "objects": (
        lambda: margin((ROWS.numpy().astype(object), LABELS)),
        lambda: margin((ROWS.numpy().astype(object).astype(np.float32), LABELS)),
        r"object array \(4,\).*astype\(numpy.float32\)",
    ),
    "text": (
        lambda: margin((ROWS.numpy().astype(str), LABELS)),
        lambda: margin((ROWS.numpy().astype(str).astype(np.float32), LABELS)),
        r"<U.*array \(4,\).*astype\(numpy.float32\)",
    ),
    "big-endian": (
        lambda: margin((ROWS.numpy().astype(">f4"), LABELS)),
        lambda: margin((ROWS.numpy().astype(">f4").astype(np.float32), LABELS)),
        r">f4.*astype\(numpy.float32\)",
    ),
    "float64": (
        lambda: margin((ROWS.numpy().astype(float), LABELS)),
        lambda: margin((ROWS.numpy().astype(float).astype(np.float32), LABELS)),
        r"dtype torch.float64.*torch.float32.*astype\(numpy.float32\)",
    ),
}


@pytest.mark.parametrize("wrong, right, words", REMEDIES.values(), ids=REMEDIES)
def test_remedies_work(wrong, right, words):
    with pytest.raises(InvalidDataError, match=f"(?s){words}"):
        wrong()
    assert right().shape == (2,)


def test_a_datasets_dataset_without_a_format():
    datasets = needs("datasets")
    made = datasets.Dataset.from_dict({"input": ROWS.tolist()})
    with pytest.raises(InvalidDataError, match=r'(?s)list.*with_format\("torch"\)'):
        margin((made, LABELS), made)
    made = made.with_format("torch")
    assert margin((made, LABELS), made).tolist() == margin().tolist()


# --- before training ------------------------------------------------------------------------------


SOFTMAX = nn.Softmax(dim=-1)  # which skorch adds by itself for CrossEntropyLoss


class Focal(nn.Module):
    def forward(self, outputs, labels):
        return nn.functional.cross_entropy(outputs, labels)


class Reduced(Focal):
    def __init__(self, reduction="mean"):
        super().__init__()
        self.reduction = reduction

    def forward(self, outputs, labels):
        return nn.functional.cross_entropy(outputs, labels, reduction=self.reduction)


class Flat(nn.Linear):
    def forward(self, input):
        return super().forward(input)[:, 0]


def untrained(sampler, *labeled, monkeypatch):
    """Fit a sampler, whose training may not begin."""
    with monkeypatch.context() as patched:
        patched.setattr(
            NeuralNetClassifier,
            "train_step",
            lambda *args, **kwargs: pytest.fail("a step was taken"),
        )
        sampler.fit(*labeled)


@pytest.mark.parametrize("key", ["dynamical", "egl", "pool_subset"])
def test_a_criterion_without_losses_of_samples_is_refused_before_training(
    key, monkeypatch
):
    with pytest.raises(UnsupportedEstimatorError, match="Focal.*reduction"):
        untrained(
            make_sampler(key, focal(Focal)), ROWS, LABELS, monkeypatch=monkeypatch
        )
    assert make_sampler(key, focal(Reduced)).fit(ROWS, LABELS).query(ROWS, 2).shape == (
        2,
    )


@pytest.mark.parametrize("key", ["margin", "entropy_gradient", "coreset"])
def test_but_probabilities_need_none(key):
    assert make_sampler(key, focal(Focal)).fit(ROWS, LABELS).query(ROWS, 2).shape == (
        2,
    )


def test_a_criterion_of_other_outputs_is_refused_before_training(monkeypatch):
    with pytest.raises(
        UnsupportedEstimatorError, match=r"MSELoss.*outputs \(2, 3\).*CrossEntropyLoss"
    ):
        untrained(
            DynamicALSampler(linear(criterion=nn.MSELoss)),
            ROWS,
            LABELS,
            monkeypatch=monkeypatch,
        )
    with pytest.raises(UnsupportedEstimatorError, match="MSELoss.*CrossEntropyLoss"):
        MarginSampler(linear(criterion=nn.MSELoss)).fit(ROWS, LABELS)


@pytest.mark.parametrize(
    "labeled", [(ROWS, LABELS), (TensorDataset(ROWS, torch.as_tensor(LABELS)),)]
)
@pytest.mark.parametrize("key", ["margin", "dynamical", "random"])
def test_outputs_of_another_shape_are_refused_before_training(
    key, labeled, monkeypatch
):
    sampler = make_sampler(key, net(Flat, **FLAT))
    with pytest.raises(UnsupportedEstimatorError, match=r"\(2,\).*n_classes"):
        untrained(sampler, *labeled, monkeypatch=monkeypatch)


class Classifier(nn.Linear):
    def forward(self, input):
        return needs("transformers").modeling_outputs.SequenceClassifierOutput(
            logits=super().forward(input)
        )


class Logits(NeuralNetClassifier):
    def infer(self, x, **params):
        return super().infer(x, **params).logits


def test_the_outputs_of_transformers_are_named():
    with pytest.raises(
        UnsupportedEstimatorError, match=r"SequenceClassifierOutput.*\.logits"
    ):
        MarginSampler(net(Classifier, **FLAT)).fit(ROWS, LABELS)
    settings = {"criterion": nn.CrossEntropyLoss, "train_split": None, "verbose": 0}
    assert margin(estimator=Logits(Classifier, **FLAT, **settings)).shape == (2,)


@pytest.mark.parametrize("callback", [EarlyStopping, Checkpoint])
def test_callbacks_that_watch_what_is_not_there(callback, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InvalidParameterError, match=r"train_split=None.*monitor='train_loss"
    ) as caught:
        untrained(
            MarginSampler(linear(callbacks=[callback()])),
            ROWS,
            LABELS,
            monkeypatch=monkeypatch,
        )
    monitor = (
        "train_loss_best" if "train_loss_best" in str(caught.value) else "train_loss"
    )
    assert margin(estimator=linear(callbacks=[callback(monitor=monitor)])).shape == (2,)


class Recorder(Callback):
    def on_epoch_end(self, net, **kwargs):
        net.history.record("valid_loss", 0.5)


def test_unless_another_callback_may_record_it():
    assert margin(estimator=linear(callbacks=[Recorder(), EarlyStopping()])).shape == (
        2,
    )


@pytest.mark.parametrize("module", [Both, Convolutional, nn.LazyLinear])
def test_the_trial_changes_nothing(module, monkeypatch):
    """Weights after training are those of skorch alone."""
    X, settings = (
        (torch.ones(8, 1, 5, 9), {}) if module is Convolutional else (ROWS, {})
    )
    settings = {"module__out_features": 3} if module is nn.LazyLinear else {}
    y, found = LABELS[: len(X)], []
    for fit in (
        lambda net: net.fit(X, y),
        lambda net: ActiveLearner(net, X_training=X, y_training=y),
    ):
        torch.manual_seed(3)
        estimator = net(module, iterator_train__shuffle=True, **settings)
        fit(estimator)
        found.append((plain(estimator.module_.state_dict()), torch.rand(1).item()))
    assert found[0] == found[1]

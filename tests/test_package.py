"""The public names and signatures, which code outside relies on."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from common import FUNCTIONS
from packaging.version import Version

import skdal
import skdal.gradients
import skdal.samplers
from skdal import ActiveLearner, DynamicALSampler, dynamical_sampling
from skdal.base import BaseSampler, ScoreSampler
from skdal.samplers import SAMPLERS

ARRAY_FUNCTIONS = {"confidence_scores", "entropy_scores", "margin_scores"}
SIGNATURES = [
    (
        BaseSampler,
        "(estimator=None, *, warm_start=True, reset_optimizer=True, verbose=0, random_state=None, "
        "executor=None)",
    ),
    (BaseSampler.fit, "(self, X, y=None, **fit_params)"),
    (BaseSampler.query, "(self, X, n_instances=1, *, return_scores=False)"),
    (
        BaseSampler.__call__,
        "(self, classifier, X, n_instances=1, *, X_labeled=None, y_labeled=None)",
    ),
    (ScoreSampler.score_samples, "(self, X)"),
    (
        DynamicALSampler,
        "(estimator=None, *, gamma=2.0, interaction=0.0, update_size=100, n_candidates=None, "
        'penalty="auto", layers="all", backend="auto", batch_size=None, warm_start=True, '
        "reset_optimizer=True, "
        "verbose=0, random_state=None, executor=None)",
    ),
    *[
        (
            function,
            "(classifier, X, n_instances=1, *, X_labeled=None, y_labeled=None, **sampler_params)",
        )
        for function in FUNCTIONS.values()
    ],
    (
        ActiveLearner,
        "(estimator, query_strategy=dynamical_sampling, X_training=None, y_training=None, "
        "bootstrap_init=False, "
        "on_transformed=False, *, warm_start=True, reset_optimizer=True, **fit_kwargs)",
    ),
    (
        ActiveLearner.teach,
        "(self, X, y=None, bootstrap=False, only_new=False, **fit_kwargs)",
    ),
    (
        skdal.gradients.gradient_statistics,
        '(net, X, y=None, *, direction=None, layers="all", backend="auto", batch_size=None)',
    ),
    (
        skdal.gradients.labeled_gradient,
        '(net, X, y=None, *, layers="all", batch_size=None)',
    ),
]


@pytest.mark.parametrize(
    "function, expected",
    SIGNATURES,
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_signature(function, expected):
    scope = {"dynamical_sampling": dynamical_sampling}
    exec(f"def wanted{expected}: pass", scope)
    assert parameters_of(function) == parameters_of(scope["wanted"])


def parameters_of(function):
    """Return what a caller relies on; annotations and the order of keywords are free."""
    parameters = inspect.signature(function).parameters.values()
    by_position = [
        (x.name, x.default) for x in parameters if x.kind == x.POSITIONAL_OR_KEYWORD
    ]
    others = {
        (x.name, x.kind, repr(x.default))
        for x in parameters
        if x.kind != x.POSITIONAL_OR_KEYWORD
    }
    return by_position, others


@pytest.mark.parametrize(
    "name", ["estimator_", "predict", "predict_proba", "score", "classes_"]
)
def test_a_sampler_has(name):
    assert hasattr(BaseSampler, name) or name in BaseSampler.__doc__


def test_registry():
    made = {key: make() for key, make in SAMPLERS.items()}
    found = {key: type(sampler) for key, sampler in made.items()}
    kept = {
        "dynamical": skdal.samplers.DynamicALSampler,
        "gradient_length": skdal.samplers.DynamicALSampler,
        "influence": skdal.samplers.DynamicALSampler,
        "egl": skdal.samplers.EGLSampler,
        "entropy_gradient": skdal.samplers.EntropyGradientSampler,
        "random": skdal.samplers.RandomSampler,
        "confidence": skdal.samplers.ConfidenceSampler,
        "margin": skdal.samplers.MarginSampler,
        "entropy": skdal.samplers.EntropySampler,
        "coreset": skdal.samplers.CoresetSampler,
        "badge": skdal.samplers.BADGESampler,
        "albl": skdal.samplers.ALBLSampler,
        "mc_dropout": skdal.samplers.MCDropoutSampler,
    }
    assert {key: found.get(key) for key in kept} == kept
    assert [
        made[key].gamma for key in ("dynamical", "gradient_length", "influence")
    ] == [2, 0, float("inf")]
    assert all(isinstance(sampler, BaseSampler) for sampler in made.values())


def test_statistics_are_named():
    assert skdal.gradients.GradientStatistics._fields == ("sq_norm", "dot", "label")


PUBLIC = {
    skdal: {"ActiveLearner", "DynamicALSampler", "__version__", "dynamical_sampling"},
    skdal.gradients: {"GradientStatistics", "gradient_statistics", "labeled_gradient"},
    skdal.samplers: {"SAMPLERS", "PoolSubset", *ARRAY_FUNCTIONS}
    | {type(make()).__name__ for make in SAMPLERS.values()}
    | set(FUNCTIONS),
}


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_public_names(module):
    assert set(module.__all__) == PUBLIC[module]
    assert all(getattr(module, name) is not None for name in module.__all__)
    assert set(module.__all__) <= set(dir(module))


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="'skdal' has no attribute 'nope'"):
        skdal.nope  # noqa: B018


def test_version():
    assert str(Version(skdal.__version__)) == skdal.__version__


MOVED = {  # by old module: the new one, and the names, which docs/migration.rst lists
    "skdal.datasets": (
        "skdal.pools",
        "ImageFolderPool MemmapPool NothingReadableError ParquetPool Pool RayDataPool SetAside "
        "Unreadable "
        "has_keys keys_of max_unreadable may_be_unreadable unit_of",
    ),
    "skdal.score": (
        "skdal.cli.score",
        "load_net open_pool read_labels score unlabeled",
    ),
}


@pytest.mark.parametrize(
    "old, name", [(old, name) for old in MOVED for name in MOVED[old][1].split()]
)
def test_old_names_warn_and_are_the_new_ones(old, name):
    new = MOVED[old][0]
    page = Path(__file__).resolve().parent.parent / "docs" / "migration.rst"
    with pytest.warns(DeprecationWarning, match=f"{old}.{name} is now {new}.{name}"):
        found = getattr(importlib.import_module(old), name)
    assert found is getattr(importlib.import_module(new), name)
    assert f"``{old}.{name}``" in page.read_text()
    assert f"``{new}.{name}``" in page.read_text()


@pytest.mark.parametrize("module", MOVED)
def test_other_names_of_old_modules_are_refused(module):
    with pytest.raises(AttributeError, match=f"'{module}' has no attribute 'nope'"):
        importlib.import_module(module).nope  # noqa: B018


# What no import of a sampler or a pool needs, nor a query.
HEAVY = "torchvision, matplotlib, tabulate, backpack, modAL, ray, pandas, pyarrow, skactiveml"
OF_A_QUERY = """
from skdal.gradients import gradient_statistics
from skdal.pools import ImageFolderPool, view
from skdal.parallel import RayExecutor
from skdal.samplers import SAMPLERS, MarginSampler
"""
IMPORTS = {  # by statement: what it must not import, unless skorch has
    "import skdal; skdal.__version__": "torch, sklearn, modAL, numpy, matplotlib, PIL",
    OF_A_QUERY: f"{HEAVY}, torch._dynamo",
    "from skdal import ActiveLearner": HEAVY.replace("modAL, ", ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("statement", IMPORTS)
def test_imports_are_light(statement):
    is_all_of_it = statement.startswith("import skdal;")
    before = "import sys" if is_all_of_it else "import sys, skorch"
    names = IMPORTS[statement].split(", ")
    program = f"""
{before}
there = set(sys.modules)
{statement}
print([name for name in {names} if name in sys.modules and name not in there])
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


A_QUERY = """
import sys
import numpy as np, PIL.Image, scipy, sklearn, skorch, torch, tqdm
from pathlib import Path
from sklearn.linear_model import LogisticRegression
for name in {names}:
    sys.modules.setdefault(name, None)  # whoever imports it now fails

from skdal import DynamicALSampler
from skdal.pools import ImageFolderPool
from skdal.samplers import MarginSampler

images = np.random.default_rng(0).integers(0, 256, (30, 4, 4, 3), dtype=np.uint8)
for i, image in enumerate(images):
    PIL.Image.fromarray(image).save(f"{{i:02d}}.png")
pool = ImageFolderPool(".")
X, y = np.stack([sample.numpy() for sample in pool]), np.arange(30) % 3
module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3))
criterion = torch.nn.CrossEntropyLoss
net = skorch.NeuralNetClassifier(module, criterion=criterion, train_split=None, verbose=0)
rows = X.reshape(30, -1)
assert len(MarginSampler(LogisticRegression()).fit(rows[:9], y[:9]).query(rows, 5)) == 5
for sampler in (MarginSampler(net), DynamicALSampler(net, gamma=0)):
    sampler.fit(X[:9], y[:9])
    assert len(sampler.query(X, 5)) == len(sampler.query(pool, 5)) == 5
"""


@pytest.mark.slow
def test_a_query_imports_no_more_than_it_needs(tmp_path):
    program = A_QUERY.format(names=HEAVY.split(", "))
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], check=True, cwd=tmp_path
    )

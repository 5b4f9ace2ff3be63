"""A run's spec: canonical JSON, its name, its seeds, and what it refuses."""

import dataclasses
import json

import numpy as np
import pytest

from skdal.exceptions import InvalidParameterError
from skdal.experiments import RunSpec, Training

SPEC = RunSpec(
    "digits", "cnn", "dynamical", {"gamma": np.inf, "layers": ["a", "b"]}, seed=3
)


def test_json_is_canonical():
    text = SPEC.to_json()
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    assert json.loads(text)["sampler_params"] == {"gamma": "inf", "layers": ["a", "b"]}
    other = RunSpec(
        seed=3, sampler_params={"layers": ("a", "b"), "gamma": float("inf")}, **FIRST
    )
    assert other.to_json() == text


FIRST = {"dataset": "digits", "model": "cnn", "sampler": "dynamical"}


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        RunSpec(**FIRST),
        RunSpec(
            **FIRST,
            sampler_params={
                "gamma": -np.inf,
                "interaction": np.float64(2),
                "update_size": np.int64(5),
            },
        ),
        RunSpec(
            **FIRST,
            training=Training(accuracy=0.99, warm_start=False),
            last_round="partial",
        ),
    ],
)
def test_json_there_and_back(spec):
    found = RunSpec.from_json(spec.to_json())
    assert found.to_json() == spec.to_json()
    assert found.digest == spec.digest
    assert found.training == spec.training


def test_every_field_is_part_of_the_name():
    digests = {SPEC.digest}
    changed = {
        "dataset": "x",
        "model": "x",
        "sampler": "x",
        "sampler_params": {},
        "last_round": "partial",
    }
    for field in dataclasses.fields(RunSpec):
        if field.name != "training":
            value = changed.get(field.name, getattr(SPEC, field.name, 0))
            value = value if field.name in changed else value + 1
            digests.add(dataclasses.replace(SPEC, **{field.name: value}).digest)
    for field in dataclasses.fields(Training):
        value = getattr(SPEC.training, field.name)
        value = (
            not value
            if isinstance(value, bool)
            else value / 2
            if isinstance(value, float)
            else value + 1
        )
        digests.add(
            dataclasses.replace(
                SPEC, training=dataclasses.replace(SPEC.training, **{field.name: value})
            ).digest
        )
    assert len(digests) == len(dataclasses.fields(RunSpec)) + len(
        dataclasses.fields(Training)
    )


def test_seeds_are_of_the_source_and_not_of_the_sampler():
    sources = ("split", "initial", "weights", "order", "query")
    seeds = [
        SPEC.seed_of(source, *round) for source in sources for round in ((), (0,), (1,))
    ]
    assert len(set(seeds)) == len(seeds)
    other = dataclasses.replace(
        SPEC, sampler="random", sampler_params={}, training=Training(lr=0.1)
    )
    assert [
        other.seed_of(source, *round)
        for source in sources
        for round in ((), (0,), (1,))
    ] == seeds
    assert dataclasses.replace(SPEC, seed=4).seed_of("split") != SPEC.seed_of("split")


def test_seeds_stay_what_they_are():
    """Records are compared over years; a change here makes old runs unrepeatable."""
    assert [SPEC.seed_of("split"), SPEC.seed_of("order", 2)] == [819382448, 487379023]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"n_initial": 0}, "n_initial must be an integer of at least 1; got 0"),
        (
            {"n_instances": 2.0, "n_rounds": -1},
            "n_instances must be .*got 2.0; n_rounds must be .*got -1",
        ),
        ({"last_round": "all"}, 'last_round must be "refuse" or "partial"; got'),
        ({"seed": True}, "seed must be an integer of at least 0; got True"),
        ({"imbalance_ratio": 0.5}, "imbalance_ratio must be a number of at least 1"),
        (
            {"training": Training(accuracy=1.5, lr=0)},
            "training.accuracy .*got 1.5; training.lr must be a number above 0",
        ),
        (
            {"training": Training(warm_start=1)},
            "training.warm_start must be True or False; got 1",
        ),
    ],
)
def test_wrong_values(change, words):
    with pytest.raises(InvalidParameterError, match=words):
        dataclasses.replace(SPEC, **change)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"dataset":"a"}', SPEC.to_json().replace("seed", "sead")]
)
def test_no_spec(text):
    with pytest.raises(InvalidParameterError, match="not a spec of a run"):
        RunSpec.from_json(text)


def test_a_wrong_value_is_not_called_no_spec():
    text = (
        RunSpec("digits", "digits_cnn", "random")
        .to_json()
        .replace('"imbalance_ratio":1.0', '"imbalance_ratio":0.5')
    )
    with pytest.raises(InvalidParameterError, match="^imbalance_ratio must be"):
        RunSpec.from_json(text)


def test_equal_specs_have_one_digest():
    gammas = (2, 2.0, np.float64(2))
    made = [
        RunSpec("digits", "cnn", "dynamical", {"gamma": gamma}, imbalance_ratio=1)
        for gamma in gammas
    ]
    assert len({spec.digest for spec in made}) == len(set(made)) == 1
    assert (
        len({RunSpec("digits", "cnn", "random", seed=seed) for seed in (0, 0, 1)}) == 2
    )


def test_a_spec_is_what_its_json_gives_back():
    params = {
        "layers": ("a", "b"),
        "gamma": float("inf"),
        "n": np.int64(3),
        "x": 0.5,
        "flag": True,
        "none": None,
    }
    spec = RunSpec("digits", "cnn", "dynamical", params)
    assert RunSpec.from_json(spec.to_json()) == spec
    assert spec.sampler_params["layers"] == ["a", "b"]


@pytest.mark.parametrize(
    "entries",
    [
        {"sampler_params": None},
        {"sampler_params": {"gamma": float("nan")}},
        {"sampler_params": {"samplers": [object()]}},
        {"sampler_params": {"x": np.ones(2)}},
        {"training": {"lr": 0.1}},
    ],
)
def test_what_json_cannot_hold_is_refused(entries):
    with pytest.raises(InvalidParameterError, match="must be"):
        RunSpec("digits", "cnn", "random", **entries)

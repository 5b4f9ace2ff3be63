"""Small runs and made-up records."""

import pytest
from skorch import NeuralNet

from skdal.experiments import RunSpec, Training

QUICK = Training(accuracy=0.8, n_epochs_above=2, max_epochs=6, batch_size=32)
VARIES = ("train_seconds", "test_seconds", "query_seconds", "peak_memory")


def quick(sampler="random", params=None, *, training=QUICK, n_rounds=2, **entries):
    """Return the spec of a run of about a second."""
    entries = {"n_initial": 40, "n_instances": 20, "eval_every": 2} | entries
    return RunSpec(
        "digits",
        "digits_cnn",
        sampler,
        params or {},
        n_rounds=n_rounds,
        training=training,
        **entries,
    )


def refuse_training(monkeypatch):
    """Fail where a training begins in this process."""
    monkeypatch.setattr(
        NeuralNet, "fit_loop", lambda *args, **kwargs: pytest.fail("training began")
    )


def without_times(records):
    """Return records without what differs between two machines that agree."""
    return [
        {key: value for key, value in record.items() if key not in VARIES}
        for record in records
    ]


def fake_records(accuracies, n_initial=50, n_instances=50):
    """Return the records of a run with these accuracies."""
    last = len(accuracies) - 1
    return [
        {
            "round": i,
            "data": "digest",
            "converged": True,
            "n_labeled": n_initial + i * n_instances,
            "accuracy": accuracy,
            "optimistic_accuracy": accuracy + 0.01,
            "macro_f1": accuracy - 0.01,
            "train_seconds": 2.0,
            "query_seconds": None if i == last else 0.5,
            "queried": [] if i == last else [i],
        }
        for i, accuracy in enumerate(accuracies)
    ]


def store(root, spec, accuracies):
    """Write a run's spec and made-up records below `root`."""
    from skdal.experiments import RunFolder

    folder = RunFolder(root, spec)
    with folder.locked():
        for record in fake_records(accuracies, spec.n_initial, spec.n_instances):
            folder.append(record, {})
    return folder

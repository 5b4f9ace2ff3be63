"""Base of the samplers that score by gradient statistics."""

from contextlib import closing

from skdal.adapters import check_net, default_batch_size, open_net
from skdal.base import ScoreSampler
from skdal.base._shards import Call, ShardCall, parts_of
from skdal.base._table import Table
from skdal.gradients._api import compute_statistics, gradient_and_counts
from skdal.gradients._backends import BACKENDS
from skdal.gradients._checks import refuse_cross_sample_layers
from skdal.gradients._parameters import is_layers
from skdal.gradients._sums import add_to, chunk_rows
from skdal.utils import count_rows, is_positive_integer, row_slices


class GradientSampler(ScoreSampler):
    """Base of the samplers that score by gradient statistics.

    Parameters
    ----------
    estimator : NeuralNetClassifier, Pipeline or FrozenEstimator, optional
        A skorch net, bare or last in a Pipeline; see `BaseSampler`.
    layers, backend, batch_size
        As in `skdal.gradients.gradient_statistics`.
    warm_start, reset_optimizer, verbose, random_state, executor
        As in `BaseSampler`.
    """

    _needs_losses = True  # of the net's own criterion

    def __init__(
        self,
        estimator=None,
        *,
        layers="all",
        backend="auto",
        batch_size=None,
        warm_start=True,
        reset_optimizer=True,
        verbose=0,
        random_state=None,
        executor=None,
    ):
        super().__init__(
            estimator,
            warm_start=warm_start,
            reset_optimizer=reset_optimizer,
            verbose=verbose,
            random_state=random_state,
            executor=executor,
        )
        self.layers = layers
        self.backend = backend
        self.batch_size = batch_size

    def _statistics(self, trained, X, labels=None, direction=None, **how):
        """Return `compute_statistics` with this sampler's settings."""
        return compute_statistics(
            trained.classifier,
            X,
            labels,
            direction=direction,
            layers=self.layers,
            backend=self.backend,
            batch_size=self.batch_size,
            verbose=self.verbose,
            **how,
        )

    def _gradient_and_counts(self, trained, X, y):
        """Return the labeled gradient, and how many samples are of each class, with this sampler's settings."""
        return gradient_and_counts(
            trained.classifier, X, y, layers=self.layers, batch_size=self.batch_size
        )

    def _mapped(self, method, trained, X, y, **shared):
        """Return the columns that `method(trained, X, y, **shared)` gives for samples with labels, by the executor."""
        table, call = Table(count_rows(X)), ShardCall(self, trained, method, shared)
        with parts_of(self, call, X, y, description=method.strip("_")) as parts:
            for part in parts:
                table.add(part.positions, part.columns)
        return table.columns

    def _added_up(self, method, trained, X, y):
        """Return the sum of the dicts of tensors that `method(trained, X, y)` gives for chunks, by the executor.

        The chunks are those of `labeled_gradient`, added in its order, so the sum is the same bit for bit.
        """
        y = open_net(trained.classifier).checked_labels(X, y)
        size = self._unit(trained, X, self.executor.batch_size)
        slices = list(row_slices(count_rows(X), chunk_rows(count_rows(X), size)))
        total, waiting, n_added = None, {}, 0
        with closing(
            self.executor.map(Call(self, trained, method), X, y, slices)
        ) as parts:
            for k, part in parts:
                waiting[k] = part
                while n_added in waiting:
                    total, n_added = add_to(total, waiting.pop(n_added)), n_added + 1
        return total

    def _unit(self, trained, X, batch_size=None):
        return (
            batch_size or self.batch_size or default_batch_size(X, trained.classifier)
        )

    def _check_estimator(self, estimator):
        check_net(estimator)

    def _check_trial(self, trial):
        refuse_cross_sample_layers(trial.module)
        if self._needs_losses:
            trial.check_losses()

    def _parameter_checks(self):
        return super()._parameter_checks() | {
            "layers": (is_layers, '"all", "last", or prefixes of parameter names'),
            "backend": (
                lambda v: v in ("auto", *BACKENDS),
                f'"auto" or one of {", ".join(BACKENDS)}',
            ),
            "batch_size": (
                lambda v: v is None or is_positive_integer(v),
                "None or an integer of at least 1",
            ),
        }

"""Base of the samplers that score by gradient statistics."""

from skdal.adapters import check_net
from skdal.base import ScoreSampler
from skdal.gradients._api import compute_statistics
from skdal.gradients._backends import BACKENDS
from skdal.gradients._checks import refuse_cross_sample_layers
from skdal.gradients._parameters import is_layers
from skdal.utils import is_positive_integer


class GradientSampler(ScoreSampler):
    """Base of the samplers that score by gradient statistics.

    Parameters
    ----------
    estimator : NeuralNetClassifier, Pipeline or FrozenEstimator, optional
        A skorch net, bare or last in a Pipeline; see `BaseSampler`.
    layers, backend, batch_size
        As in `skdal.gradients.gradient_statistics`.
    warm_start, reset_optimizer, verbose, random_state
        As in `BaseSampler`.
    """

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
    ):
        super().__init__(
            estimator,
            warm_start=warm_start,
            reset_optimizer=reset_optimizer,
            verbose=verbose,
            random_state=random_state,
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

    def _check_estimator(self, estimator):
        check_net(estimator)

    def _check_module(self, module):
        refuse_cross_sample_layers(module)

    def _parameter_checks(self):
        return super()._parameter_checks() | {
            "layers": (is_layers, '"all", "last", or prefixes of parameter names'),
            "backend": (lambda v: v in ("auto", *BACKENDS), f'"auto" or one of {", ".join(BACKENDS)}'),
            "batch_size": (lambda v: v is None or is_positive_integer(v), "None or an integer of at least 1"),
        }

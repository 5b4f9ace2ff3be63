"""Base of the samplers that score by gradient statistics."""

from dataclasses import dataclass

from skdal.adapters import check_net, default_batch_size
from skdal.base import ModuleWork, ScoreSampler
from skdal.gradients._api import compute_statistics, gradient_and_counts
from skdal.gradients._backends import BACKENDS
from skdal.gradients._checks import refuse_cross_sample_layers
from skdal.gradients._parameters import is_layers
from skdal.utils import is_positive_integer

# Beside the names of parameters, in the sums of a GradientSumWork.
COUNTS = "labels of each class"


@dataclass(frozen=True, kw_only=True)
class GradientWork(ModuleWork):
    """Base of the works that take gradient statistics of samples.

    Parameters
    ----------
    layers, backend, batch_size
        As in `skdal.gradients.gradient_statistics`.
    """

    layers: str | list = "all"
    backend: str = "auto"
    batch_size: int | None = None

    def statistics(self, trained, X, y=None, *, direction=None, **params):
        """Return the GradientStatistics of samples; `params` as in `compute_statistics`."""
        return compute_statistics(
            trained.classifier,
            X,
            y,
            direction=direction,
            layers=self.layers,
            backend=self.backend,
            batch_size=self.batch_size,
            verbose=self.verbose,
            **params,
        )

    def unit(self, trained, X, batch_size=None):
        """Return the mini-batch length of gradients; see `Work.unit`."""
        own = batch_size or self.batch_size
        return own or default_batch_size(X, trained.classifier)


@dataclass(frozen=True, kw_only=True)
class GradientSumWork(GradientWork):
    """The sum of the gradients of labeled samples, and how many samples are of each class."""

    def __call__(self, trained, X, y=None):
        """Return a dict of tensors: the sum by the name of each parameter, and the number of
        samples (K,).
        """
        gradient, counts = gradient_and_counts(
            trained.classifier, X, y, layers=self.layers, batch_size=self.batch_size
        )
        return {**gradient, COUNTS: counts}


@dataclass(eq=False, repr=False, kw_only=True)
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

    layers: str | list = "all"
    backend: str = "auto"
    batch_size: int | None = None

    def _engine_params(self):
        """Return how gradients are taken, the fields of a `GradientWork`."""
        return {
            "layers": self.layers,
            "backend": self.backend,
            "batch_size": self.batch_size,
        }

    def _check_estimator(self, estimator):
        check_net(estimator)

    def _check_trial(self, trial):
        refuse_cross_sample_layers(trial.module)
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

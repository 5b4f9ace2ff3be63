"""The work of `skdal score`."""

from skdal.cli.score._checkpoint import load_net
from skdal.cli.score._labels_csv import read_labels
from skdal.cli.score._pool_on_disk import open_pool, unlabeled
from skdal.cli.score._sampler import check_params
from skdal.cli.score._work import score

__all__ = ["check_params", "load_net", "open_pool", "read_labels", "score", "unlabeled"]

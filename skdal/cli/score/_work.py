"""From a checkpoint, a list of labels and a pool on disk to a list of what to label next."""

from pathlib import Path

from torch.utils.data import Subset

from skdal.cli.score._checkpoint import load_net
from skdal.cli.score._class_names import check_number, checked_names, with_names
from skdal.cli.score._labels_csv import read_labels
from skdal.cli.score._outputs import (
    check_outside,
    output_files,
    picks_csv,
    unreadable_csv,
    write,
)
from skdal.cli.score._picks import pick
from skdal.cli.score._pool_on_disk import Labeled, labeled_positions, unlabeled
from skdal.cli.score._sampler import check_params, make_sampler
from skdal.cli.score._sheet import sheet_of
from skdal.pools import SetAside, view
from skdal.utils import check_n_instances

_SHEET = 64  # thumbnails
_OPTIONS = ("verbose", "executor")  # parameters with options of their own


def score(
    net_factory,
    checkpoint,
    labels_file,
    pool,
    n_instances,
    out,
    *,
    overwrite=False,
    classes=None,
    sampler="dynamical",
    **sampler_params,
):
    """Choose samples of a pool and write them to files.

    Parameters
    ----------
    net_factory : str
        "package.module:function", which returns a skorch NeuralNetClassifier.
    checkpoint : str or Path
        Its weights: a state dict as `torch.save` writes it, or skorch's
        `save_params(f_params=...)`.
    labels_file : str, Path or None
        A CSV file with the columns key and label, of samples of the pool; these are the labeled
        set. Labels are integers from 0, or names of `classes`. None: nothing is labeled, which many
        samplers do not mind.
    pool : Pool
    n_instances : int
    out : str or Path
        The file to write, which ends in .csv; a sheet of thumbnails gets its name with .png, and
        samples that could not be read are listed in the one with -unreadable.csv.
    overwrite : bool, default=False
        Whether these may exist; none of an earlier run is left then.
    classes : sequence of str, optional
        The names of the net's outputs, in their order; predicted labels are written by name then.
    sampler : str, default="dynamical"
        A key of `skdal.samplers.SAMPLERS`.
    **sampler_params
        For the sampler.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    SkdalError
        Anything is missing, damaged or does not fit; before the pool is scored.
    """
    check_params(sampler, [name for name in sampler_params if name not in _OPTIONS])
    classes = checked_names(classes)
    picks_file, thumbnails_file, unreadable_file = output_files(Path(out), overwrite)
    check_outside(pool, out, sampler_params.get("executor"))
    net = load_net(net_factory, checkpoint)
    labeled = _labeled(labels_file, pool, classes)
    check_number(classes, net, _some(pool, labeled))
    rest = unlabeled(pool, [] if labeled is None else labeled.positions)
    check_n_instances(n_instances, len(rest))
    fitted = make_sampler(sampler, net, sampler_params).fit(labeled)
    picks = pick(fitted, rest, n_instances)
    keys = view(rest).keys(picks.positions)
    shown = rest.indices[picks.positions[:_SHEET]]
    written = [
        write(picks_file, picks_csv(keys, with_names(picks.columns, classes))),
        write(thumbnails_file, sheet_of(pool, shown)),
        write(unreadable_file, unreadable_csv(picks.unreadable)),
    ]
    return [path for path in written if path]


def _labeled(labels_file, pool, classes):
    """Return the labeled set of a file, None of None."""
    if labels_file is None:
        return None
    keys, labels = read_labels(labels_file, classes)
    return Labeled(pool, labeled_positions(pool, keys, labels_file), labels)


def _some(pool, labeled):
    """Return samples without labels, of which the first can be read: those of the labeled set, if
    there is one.
    """
    return SetAside(pool) if labeled is None else Subset(pool, labeled.positions)

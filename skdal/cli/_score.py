"""`skdal score`."""

import argparse

from skdal.cli._arguments import Help, positive
from skdal.cli._classes import classes_of
from skdal.cli._sampler_params import sampler_params_of
from skdal.exceptions import InvalidParameterError

_NEEDED = {"required": True, "default": argparse.SUPPRESS}


def add_score(verbs):
    """Add the verb."""
    verb = verbs.add_parser(
        "score",
        help="choose what to label from a pool on disk",
        description="Chooses what to label next from a pool on disk, by any sampler. Writes "
        "picks.csv with key, rank, score, for dynamicAL its two terms, and the predicted "
        "label; picks.png shows the first 64. Images that cannot be read are set aside and "
        "listed in picks-unreadable.csv. With --scores-dir a run that was cut short goes on "
        "where it was.",
        epilog="Samplers: dynamical (dynamicAL), gradient_length, influence, egl, "
        "entropy_gradient, random, confidence, margin, entropy, coreset, badge, albl, "
        "mc_dropout. Those that choose a batch as a whole (coreset, badge, albl, random) have "
        "no scores of the pool: a cell is empty where a pick has none, and --scores-dir keeps "
        "nothing.",
        formatter_class=Help,
    )
    _add_net(verb.add_argument_group("net and labels"))
    _add_sampler(verb.add_argument_group("what picks"))
    _add_pool(verb.add_argument_group("pool"))
    _add_files(verb.add_argument_group("files to write"))
    _add_ray(verb.add_argument_group("where the work is done"))
    verb.add_argument("--quiet", action="store_true", help="no progress bar")
    verb.set_defaults(run=_score)


def _add_net(group):
    add = group.add_argument
    add("--net", metavar="FILE", help="weights: a state dict (.pt)", **_NEEDED)
    add(
        "--net-factory",
        metavar="MODULE:FUNCTION",
        help="returns the skorch net",
        **_NEEDED,
    )
    add(
        "--labeled",
        metavar="CSV",
        help="keys and labels so far (columns key, label); may be left out for samplers that need "
        "no labels, such as margin",
    )
    add(
        "--classes",
        metavar="NAMES",
        help="of the net's outputs, in order: a,b,c or @FILE, one per line",
    )


def _add_sampler(group):
    add = group.add_argument
    add(
        "-n",
        "--n-instances",
        type=positive,
        metavar="N",
        help="labels to ask for",
        **_NEEDED,
    )
    add("--sampler", default="dynamical", metavar="KEY", help="see the list below")
    add(
        "--sampler-param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of the sampler, such as gamma=0 or penalty=None; may be given several "
        "times",
    )
    add("--gamma", type=float, metavar="G", help="short for --sampler-param gamma=G")
    add("--batch-size", type=positive, metavar="N", help="samples per mini-batch")


def _add_pool(group):
    add = group.add_argument
    add(
        "--pool",
        metavar="PATH",
        help="folder of images, Parquet (file or folder), or .npy",
        **_NEEDED,
    )
    add(
        "--size",
        type=positive,
        metavar="N",
        help="make images square, of N pixels a side",
    )
    add(
        "--exif",
        action="store_true",
        help="turn images by the orientation that cameras store",
    )
    add(
        "--depth",
        type=positive,
        metavar="BITS",
        help="that values of images deeper than 8 bits use",
    )
    add(
        "--transform",
        metavar="MODULE:FUNCTION",
        help="of an image (PIL) or an array to a tensor",
    )
    add("--column", metavar="NAME", help="of Parquet: images or numbers (image)")
    add("--key", metavar="NAME", help="of Parquet: column of the keys")
    add(
        "--max-unreadable",
        type=float,
        default=0.01,
        metavar="S",
        help="share that may be unreadable",
    )


def _add_files(group):
    add = group.add_argument
    add(
        "--out",
        default="picks.csv",
        metavar="CSV",
        help="file to write; others get its name",
    )
    add("--overwrite", action="store_true", help="also where these files exist")
    add(
        "--scores-dir",
        metavar="DIR",
        help="keep all scores there, as Parquet, and go on from them",
    )


def _add_ray(group):
    add = group.add_argument
    add("--ray", metavar="ADDRESS", help='score on Ray: "auto", "local" or an address')
    add("--workers", type=positive, metavar="N", help="of Ray")
    add("--gpus-per-worker", type=float, metavar="N", help="of Ray")


def _score(args):
    from skdal.cli.score import check_params, open_pool, score

    params = sampler_params_of(
        args.sampler_param, gamma=args.gamma, batch_size=args.batch_size
    )
    check_params(args.sampler, params)
    classes = classes_of(args.classes)
    pool = open_pool(
        args.pool,
        column=args.column,
        key=args.key,
        size=args.size,
        max_unreadable=args.max_unreadable,
        transform=args.transform,
        exif=args.exif,
        depth=args.depth,
    )
    executor = _executor(args)
    try:
        paths = score(
            args.net_factory,
            args.net,
            args.labeled,
            pool,
            args.n_instances,
            args.out,
            overwrite=args.overwrite,
            classes=classes,
            sampler=args.sampler,
            executor=executor,
            verbose=0 if args.quiet else 1,
            **params,
        )
    finally:
        executor.shutdown()
    for path in paths:
        print(path)
    return 0


def _executor(args):
    from skdal.parallel import RayExecutor, SerialExecutor

    if args.ray is not None:
        return RayExecutor(
            args.ray, args.workers, args.gpus_per_worker, scores_dir=args.scores_dir
        )
    if args.workers or args.gpus_per_worker is not None:
        raise InvalidParameterError(
            "--workers and --gpus-per-worker are for --ray; add --ray local or --ray auto."
        )
    return SerialExecutor(scores_dir=args.scores_dir)

"""`skdal score`."""

import argparse

from skdal.cli._arguments import Help, positive
from skdal.cli._classes import classes_of
from skdal.cli._sampler_params import sampler_params_of
from skdal.exceptions import InvalidParameterError


def add_score(verbs):
    """Add the verb."""
    verb = verbs.add_parser(
        "score",
        help="choose what to label from a pool on disk",
        description="Scores a pool on disk by a sampler, dynamicAL if not said otherwise, and writes what to label "
        "next: picks.csv with key, rank, score, for dynamicAL its two terms, and the predicted label, picks.png with "
        "the first 64. Images that cannot be read are set aside and listed in picks-unreadable.csv. With --scores-dir "
        "a run that was cut short goes on where it was.",
        epilog="Samplers: dynamical (dynamicAL), gradient_length, influence, egl, entropy_gradient, random, "
        "confidence, margin, entropy, coreset, badge, albl, mc_dropout. Those that choose a batch as a whole (coreset, "
        "badge, albl, random) have no scores of the pool: a cell is empty where a pick has none, and --scores-dir "
        "keeps nothing.",
        formatter_class=Help,
    )
    needed = {"required": True, "default": argparse.SUPPRESS}
    verb.add_argument(
        "--net", metavar="FILE", help="weights: a state dict (.pt)", **needed
    )
    verb.add_argument(
        "--net-factory",
        metavar="MODULE:FUNCTION",
        help="returns the skorch net",
        **needed,
    )
    verb.add_argument(
        "--labeled",
        metavar="CSV",
        help="keys and labels so far (columns key, label); left out where nothing is labeled, which samplers by "
        "class probabilities do not mind",
    )
    verb.add_argument(
        "--sampler",
        default="dynamical",
        metavar="KEY",
        help="what picks, see below",
    )
    verb.add_argument(
        "--sampler-param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of the sampler, such as gamma=0 or penalty=None; may be given several times",
    )
    verb.add_argument(
        "--pool",
        metavar="PATH",
        help="folder of images, Parquet (file or folder), or .npy",
        **needed,
    )
    verb.add_argument(
        "--classes",
        metavar="NAMES",
        help="of the net's outputs, in order: a,b,c or @FILE, one a line",
    )
    verb.add_argument(
        "-n",
        "--n-instances",
        type=positive,
        metavar="N",
        help="labels to ask for",
        **needed,
    )
    verb.add_argument(
        "--out",
        default="picks.csv",
        metavar="CSV",
        help="file to write; others get its name",
    )
    verb.add_argument(
        "--overwrite", action="store_true", help="also where these files exist"
    )
    verb.add_argument(
        "--size",
        type=positive,
        metavar="N",
        help="make images square, of N pixels a side",
    )
    verb.add_argument(
        "--exif",
        action="store_true",
        help="turn images by the orientation that cameras store",
    )
    verb.add_argument(
        "--depth",
        type=positive,
        metavar="BITS",
        help="that values of images deeper than 8 bits use",
    )
    verb.add_argument(
        "--transform",
        metavar="MODULE:FUNCTION",
        help="of an image (PIL) or an array to a tensor",
    )
    verb.add_argument(
        "--column", metavar="NAME", help="of Parquet: images or numbers (image)"
    )
    verb.add_argument("--key", metavar="NAME", help="of Parquet: column of the keys")
    verb.add_argument(
        "--gamma",
        type=float,
        metavar="G",
        help="the same as --sampler-param gamma=G",
    )
    verb.add_argument(
        "--batch-size", type=positive, metavar="N", help="samples per mini-batch"
    )
    verb.add_argument(
        "--max-unreadable",
        type=float,
        default=0.01,
        metavar="S",
        help="share that may be unreadable",
    )
    verb.add_argument(
        "--scores-dir",
        metavar="DIR",
        help="keep all scores there, as Parquet, and go on from them",
    )
    verb.add_argument(
        "--ray", metavar="ADDRESS", help='score on Ray: "auto", "local" or an address'
    )
    verb.add_argument("--workers", type=positive, metavar="N", help="of Ray")
    verb.add_argument("--gpus-per-worker", type=float, metavar="N", help="of Ray")
    verb.add_argument("--quiet", action="store_true", help="no progress bar")
    verb.set_defaults(run=_score)


def _score(args):
    from skdal.cli.score import check_params, open_pool, score
    from skdal.parallel import RayExecutor, SerialExecutor

    if args.ray is None and (args.workers or args.gpus_per_worker is not None):
        raise InvalidParameterError(
            "--workers and --gpus-per-worker are for --ray; add --ray local or --ray auto."
        )
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
    executor = SerialExecutor(scores_dir=args.scores_dir)
    if args.ray is not None:
        executor = RayExecutor(
            args.ray, args.workers, args.gpus_per_worker, scores_dir=args.scores_dir
        )
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

"""`skdal run`."""

import argparse
import sys

from skdal.cli._arguments import Help, positive


def add_run(verbs):
    """Add the verb."""
    run = verbs.add_parser(
        "run",
        help="run an experiment of the paper, on its data or yours",
        description="Do what is left of the runs of a suite. They are stored round by round: stop "
        "whenever you like, and give the same command again to go on. Then: skdal table DIR, "
        "skdal plot DIR.",
        epilog="Suites: table1 to table9 (also of figures 3 and 8), table11, table12, figure5, "
        "figure10, interaction, protocol, and digits-quick for a first look.",
        formatter_class=Help,
    )
    run.add_argument("suite", metavar="SUITE", help="such as table3 or digits-quick")
    run.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="folder of the runs",
    )
    run.add_argument(
        "--seeds",
        type=positive,
        default=5,
        metavar="N",
        help="repetitions, with seeds 0 to N - 1",
    )
    run.add_argument(
        "--jobs",
        type=positive,
        default=1,
        metavar="N",
        help="runs at once; they share the cores",
    )
    run.add_argument(
        "--samplers", nargs="+", metavar="NAME", help="only these variants of the suite"
    )
    run.add_argument(
        "--dataset",
        metavar="NAME",
        help="instead of the suite's: a name, an .npz file or a folder",
    )
    run.add_argument("--model", metavar="NAME", help="instead of the suite's")
    run.add_argument(
        "--rounds",
        type=positive,
        metavar="N",
        help="at most so many queries a run; with another number it is another run",
    )
    run.add_argument(
        "--imbalance-ratio",
        type=float,
        metavar="R",
        help="images of the first class over those of the last",
    )
    run.add_argument(
        "--data-root", default="data", metavar="DIR", help="where the data sets are"
    )
    run.add_argument(
        "--download",
        action="store_true",
        help="fetch missing data sets, through torchvision",
    )
    run.add_argument("--device", default="cpu", help="of the nets, such as cuda")
    run.add_argument("--quiet", action="store_true", help="no progress bar")
    run.set_defaults(run=_run)


def _run(args):
    from skdal.experiments import run_suite

    changes = {
        "dataset": args.dataset,
        "model": args.model,
        "n_rounds": args.rounds,
        "imbalance_ratio": args.imbalance_ratio,
    }
    ended = run_suite(
        args.suite,
        args.out,
        n_seeds=args.seeds,
        n_jobs=args.jobs,
        labels=args.samplers,
        data_root=args.data_root,
        download=args.download,
        device=args.device,
        verbose=0 if args.quiet else 1,
        **{name: value for name, value in changes.items() if value is not None},
    )
    print(
        f"{len(ended.done)} runs are done, {len(ended.failed)} failed, {len(ended.in_use)} are in "
        f"use ({args.out})"
    )
    for spec, why in ended.failed:
        print(f"failed: {spec.to_json()}\n{why}", file=sys.stderr)
    return 1 if ended.failed else 0

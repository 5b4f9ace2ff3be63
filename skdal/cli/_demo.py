"""`skdal demo`."""

import time

from skdal.cli._arguments import Help, positive


def add_demo(verbs):
    """Add the verb."""
    demo = verbs.add_parser(
        "demo",
        help="compare dynamicAL with other samplers on handwritten digits",
        description="The suite digits-quick: a small CNN on scikit-learn's handwritten digits, and "
        "a few rounds of random, margin, BADGE and dynamicAL sampling. Prints a table and "
        "writes learning_curve.png and queries.png (the digits most and least wanted). The "
        "runs are kept: stop whenever you like, and give the same command again to go on.",
        formatter_class=Help,
    )
    demo.add_argument(
        "--out",
        default="skdal_demo",
        metavar="DIR",
        help="folder of the two figures, and of the runs",
    )
    demo.add_argument(
        "--rounds",
        type=positive,
        metavar="N",
        help="at most so many queries a run; the suite has 4",
    )
    for flag, default, meaning in (
        ("--seeds", 5, "repetitions; a seed decides the initial labels and weights"),
        ("--n-instances", 50, "labels asked for in a query"),
        ("--n-initial", 50, "labels at the start"),
        ("--jobs", 2, "runs at once; they share the cores"),
    ):
        demo.add_argument(
            flag, type=positive, default=default, metavar="N", help=meaning
        )
    demo.add_argument("--quiet", action="store_true", help="no progress bar")
    demo.set_defaults(run=_demo)


def _demo(args):
    from skdal.experiments import run_demo

    start = time.perf_counter()
    sizes = {"n_instances": args.n_instances, "n_initial": args.n_initial}
    if args.rounds is not None:
        sizes["n_rounds"] = args.rounds
    text, paths = run_demo(
        args.out,
        n_seeds=args.seeds,
        n_jobs=args.jobs,
        verbose=0 if args.quiet else 1,
        **sizes,
    )
    print(text)
    folder = paths[0].parent
    print(f"\nIn {folder.resolve()}, after {time.perf_counter() - start:.0f} s:")
    for path in paths:
        print(f"  {path.name}")
    print(f"More of the runs: skdal table {folder / 'runs'}")
    return 0

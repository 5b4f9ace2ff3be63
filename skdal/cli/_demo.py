"""`skdal demo`."""

import time

from skdal.cli._arguments import Help, positive


def add_demo(verbs):
    """Add the verb."""
    demo = verbs.add_parser(
        "demo",
        help="compare dynamicAL with margin and random sampling on handwritten digits",
        description="Active learning on scikit-learn's handwritten digits: a small CNN, a few rounds of dynamicAL "
        "beside margin and random sampling. Prints a table and writes learning_curve.png and queries.png.",
        formatter_class=Help,
    )
    demo.add_argument(
        "--out", default="skdal_demo", metavar="DIR", help="folder for the two figures"
    )
    for flag, default, meaning in (
        ("--seeds", 5, "repetitions; a seed decides the initial labels and weights"),
        ("--rounds", 6, "queries a repetition"),
        ("--n-instances", 50, "labels asked for in a query"),
        ("--n-initial", 50, "labels at the start"),
    ):
        demo.add_argument(
            flag, type=positive, default=default, metavar="N", help=meaning
        )
    demo.add_argument("--quiet", action="store_true", help="no progress bar")
    demo.set_defaults(run=_demo)


def _demo(args):
    from skdal import demo
    from skdal.utils import prepare_folder

    start = time.perf_counter()
    folder = prepare_folder(args.out)
    settings = demo.DemoSettings(
        args.seeds, args.rounds, args.n_instances, args.n_initial
    )
    result = demo.run_demo(settings, verbose=0 if args.quiet else 1)
    paths = demo.write_figures(result, folder)
    print(demo.format_table(result))
    print(f"\nIn {folder.resolve()}, after {time.perf_counter() - start:.0f} s:")
    for path in paths:
        print(f"  {path.name}")
    return 0

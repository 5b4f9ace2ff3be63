"""`skdal table` and `skdal plot`: what the runs in a folder say."""

from skdal.cli._arguments import Help


def add_table(verbs):
    """Add the verb."""
    table = verbs.add_parser(
        "table",
        help="tables of the runs in a folder, with the paper's numbers beside them",
        description="Mean and deviation by round, paired differences to random with 95%% "
        "confidence intervals, areas under the curves, labels saved, and who beats whom.",
        formatter_class=Help,
    )
    _add_shown(table)
    table.add_argument(
        "--format",
        default="markdown",
        choices=("markdown", "latex", "rst", "csv"),
        help="csv: one table of all, a row a sampler and number of labels",
    )
    table.add_argument(
        "--part",
        nargs="+",
        default=["rounds", "summary", "penalty"],
        choices=("rounds", "summary", "penalty"),
        help="which",
    )
    table.set_defaults(run=_table)


def add_plot(verbs):
    """Add the verb."""
    plot = verbs.add_parser(
        "plot",
        help="learning curves of the runs in a folder, as PNG and SVG",
        description="Learning curves with bands, and their differences to random.",
        formatter_class=Help,
    )
    _add_shown(plot)
    plot.add_argument(
        "--out", metavar="DIR", help="folder for the figures; DIR itself if not given"
    )
    plot.set_defaults(run=_plot)


def _add_shown(parser):
    parser.add_argument("folder", metavar="DIR", help="folder of the runs")
    parser.add_argument("--suite", metavar="SUITE", help="only this one")
    parser.add_argument(
        "--measure",
        default="accuracy",
        choices=("accuracy", "optimistic_accuracy", "macro_f1"),
        help="optimistic: the best of a round's looks at the test set",
    )


def _comparisons(args):
    from skdal.experiments import comparisons, suites_of

    return comparisons(
        args.folder, None if args.suite is None else suites_of(args.suite)
    )


def _table(args):
    from skdal.experiments import format_comparison, format_csv

    if args.format == "csv":
        print(format_csv(_comparisons(args), measure=args.measure), end="")
        return 0
    for comparison in _comparisons(args):
        print(
            format_comparison(
                comparison, measure=args.measure, style=args.format, parts=args.part
            )
        )
    return 0


def _plot(args):
    from skdal.experiments import write_plots

    for comparison in _comparisons(args):
        for path in write_plots(
            comparison, args.out or args.folder, measure=args.measure
        ):
            print(path)
    return 0

"""The command line: `skdal demo | run | table | plot | theory | score`."""

import argparse
import sys
import time

import skdal
from skdal.exceptions import InvalidParameterError, SkdalError


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults where there are any."""

    def _get_help_string(self, action):
        return action.help if action.default in (None, False) else super()._get_help_string(action)


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : list of str, optional
        The arguments after the program's name; None takes those of the process.

    Returns
    -------
    int
        0: done; 1: failed; 2: refused before it began; 130: interrupted.
    """
    args = _parser().parse_args(argv)
    try:
        return args.run(args)
    except SkdalError as error:
        print(f"skdal {args.verb}: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InvalidParameterError) else 1
    except OSError as error:  # a full disk, a folder that cannot be made
        print(f"skdal {args.verb}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"skdal {args.verb}: interrupted", file=sys.stderr)
        return 130


def _parser():
    parser = argparse.ArgumentParser(
        prog="skdal",
        description="Deep active learning for scikit-learn, skorch and PyTorch.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong arguments, 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"skdal {skdal.__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="verb", required=True)
    _add_demo(verbs)
    _add_run(verbs)
    _add_table(verbs)
    _add_plot(verbs)
    _add_theory(verbs)
    _add_score(verbs)
    return parser


def _add_demo(verbs):
    demo = verbs.add_parser(
        "demo",
        help="compare dynamicAL with margin and random sampling on handwritten digits",
        description="Active learning on scikit-learn's handwritten digits: a small CNN, a few rounds of dynamicAL "
        "beside margin and random sampling. Prints a table and writes learning_curve.png and queries.png.",
        formatter_class=_Help,
    )
    demo.add_argument("--out", default="skdal_demo", metavar="DIR", help="folder for the two figures")
    for flag, default, meaning in (
        ("--seeds", 5, "repetitions; a seed decides the initial labels and weights"),
        ("--rounds", 6, "queries a repetition"),
        ("--n-instances", 50, "labels asked for in a query"),
        ("--n-initial", 50, "labels at the start"),
    ):
        demo.add_argument(flag, type=_positive, default=default, metavar="N", help=meaning)
    demo.add_argument("--quiet", action="store_true", help="no progress bar")
    demo.set_defaults(run=_demo)


def _demo(args):
    from skdal import demo  # imports torch, which `skdal --help` can do without

    start = time.perf_counter()
    folder = demo.prepare_folder(args.out)
    settings = demo.DemoSettings(args.seeds, args.rounds, args.n_instances, args.n_initial)
    result = demo.run_demo(settings, verbose=0 if args.quiet else 1)
    paths = demo.write_figures(result, folder)
    print(demo.format_table(result))
    print(f"\nIn {folder.resolve()}, after {time.perf_counter() - start:.0f} s:")
    for path in paths:
        print(f"  {path.name}")
    return 0


def _add_run(verbs):
    run = verbs.add_parser(
        "run",
        help="run an experiment of the paper, on its data or yours",
        description="Do what is left of the runs of a suite. They are stored round by round: stop whenever you like, "
        "and give the same command again to go on. Then: skdal table DIR, skdal plot DIR.",
        epilog="Suites: table1 to table9 (also of figures 3 and 8), table11, table12, figure5, figure10, interaction, "
        "protocol, and digits-quick for a first look.",
        formatter_class=_Help,
    )
    run.add_argument("suite", metavar="SUITE", help="such as table3 or digits-quick")
    run.add_argument("--out", required=True, metavar="DIR", default=argparse.SUPPRESS, help="folder of the runs")
    run.add_argument("--seeds", type=_positive, default=5, metavar="N", help="repetitions, with seeds 0 to N - 1")
    run.add_argument("--jobs", type=_positive, default=1, metavar="N", help="runs at once; they share the cores")
    run.add_argument("--samplers", nargs="+", metavar="NAME", help="only these variants of the suite")
    run.add_argument("--dataset", metavar="NAME", help="instead of the suite's: a name, an .npz file or a folder")
    run.add_argument("--model", metavar="NAME", help="instead of the suite's")
    run.add_argument(
        "--rounds",
        type=_positive,
        metavar="N",
        help="at most so many queries a run; with another number it is another run",
    )
    run.add_argument(
        "--imbalance-ratio", type=float, metavar="R", help="images of the first class over those of the last"
    )
    run.add_argument("--data-root", default="data", metavar="DIR", help="where the data sets are")
    run.add_argument("--download", action="store_true", help="fetch missing data sets, through torchvision")
    run.add_argument("--device", default="cpu", help="of the nets, such as cuda")
    run.add_argument("--quiet", action="store_true", help="no progress bar")
    run.set_defaults(run=_run)


def _run(args):
    from skdal.experiments import run_suite  # imports torch, which `skdal --help` can do without

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
    print(f"{len(ended.done)} runs are done, {len(ended.failed)} failed, {len(ended.in_use)} are in use ({args.out})")
    for spec, why in ended.failed:
        print(f"failed: {spec.to_json()}\n{why}", file=sys.stderr)
    return 1 if ended.failed else 0


def _add_table(verbs):
    table = verbs.add_parser(
        "table",
        help="tables of the runs in a folder, with the paper's numbers beside them",
        description="Mean and deviation by round, paired differences to random with 95%% confidence intervals, areas "
        "under the curves, labels saved, and who beats whom.",
        formatter_class=_Help,
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


def _add_plot(verbs):
    plot = verbs.add_parser(
        "plot",
        help="learning curves of the runs in a folder, as PNG and SVG",
        description="Learning curves with bands, and their differences to random.",
        formatter_class=_Help,
    )
    _add_shown(plot)
    plot.add_argument("--out", metavar="DIR", help="folder for the figures; DIR itself if not given")
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

    return comparisons(args.folder, None if args.suite is None else suites_of(args.suite))


def _table(args):
    from skdal.experiments import format_comparison, format_csv

    if args.format == "csv":
        print(format_csv(_comparisons(args), measure=args.measure), end="")
        return 0
    for comparison in _comparisons(args):
        print(format_comparison(comparison, measure=args.measure, style=args.format, parts=args.part))
    return 0


def _plot(args):
    from skdal.experiments import write_plots

    for comparison in _comparisons(args):
        for path in write_plots(comparison, args.out or args.folder, measure=args.measure):
            print(path)
    return 0


def _add_theory(verbs):
    theory = verbs.add_parser(
        "theory",
        help="rerun the paper's verification experiments",
        description="Does each link of the paper's theory hold: training dynamics, alignment, generalization bound? "
        "Prints a table with the paper's values and writes a figure. Results, kernels and runs are kept in DIR: stop "
        "whenever you like, and give the same command again to go on.",
        epilog="Experiments: fig1, fig2, fig4, fig6, fig7, fig9, table10. One computation serves fig2, fig6 and fig7, "
        "another one fig1, fig9 and table10.",
        formatter_class=_Help,
    )
    theory.add_argument("name", metavar="NAME", help="such as fig2")
    theory.add_argument("--out", required=True, metavar="DIR", default=argparse.SUPPRESS, help="folder of the results")
    theory.add_argument("--quick", action="store_true", help="small sizes on handwritten digits, in a minute")
    theory.add_argument("--pixels", type=_positive, metavar="N", help="side of the images of infinite kernels (16)")
    theory.add_argument(
        "--dtype", choices=("float64", "float32"), help="of infinite kernels; float32 takes half the time"
    )
    theory.add_argument("--dataset", metavar="NAME", help="a name, an .npz file or a folder (cifar10)")
    theory.add_argument("--models", nargs="+", metavar="NAME", help="of fig4 (cnn resnet18)")
    theory.add_argument("--seed", type=int, metavar="N", help="of the labeled set and the draws (0)")
    theory.add_argument("--data-root", default="data", metavar="DIR", help="where the data sets are")
    theory.add_argument("--download", action="store_true", help="fetch missing data sets, through torchvision")
    theory.add_argument("--device", default="cpu", help="of nets and kernels, such as cuda")
    theory.add_argument("--format", default="markdown", choices=("markdown", "latex", "rst"), help="of the table")
    theory.add_argument("--quiet", action="store_true", help="no progress bars")
    theory.set_defaults(run=_theory)


def _theory(args):
    import dataclasses

    from skdal.experiments.theory import QUICK, THEORY, TheorySettings, run_theory
    from skdal.utils import check_known

    changes = {"pixels": args.pixels, "dtype": args.dtype, "dataset": args.dataset, "seed": args.seed}
    changes["models"] = None if args.models is None else tuple(args.models)
    experiment = THEORY[check_known("verification experiment", args.name, THEORY)].experiment
    if useless := [f"--{key}" for key, value in changes.items() if value is not None and key not in experiment.USES]:
        raise InvalidParameterError(f"{args.name} has no use for {', '.join(useless)}; leave it out.")
    settings = dataclasses.replace(
        QUICK if args.quick else TheorySettings(), **{key: value for key, value in changes.items() if value is not None}
    )
    text, paths = run_theory(
        args.name,
        args.out,
        settings,
        data_root=args.data_root,
        download=args.download,
        device=args.device,
        verbose=0 if args.quiet else 1,
        style=args.format,
    )
    print(text)
    for path in paths:
        print(path)
    return 0


def _add_score(verbs):
    verb = verbs.add_parser(
        "score",
        help="choose what to label from a pool on disk",
        description="Scores a pool on disk by dynamicAL and writes what to label next: picks.csv with key, rank, "
        "score, its two terms and the predicted label, picks.png with the first 64. Images that cannot be read "
        "are set aside and listed in picks-unreadable.csv. With --scores-dir a run that was cut short goes on where "
        "it was.",
        formatter_class=_Help,
    )
    needed = {"required": True, "default": argparse.SUPPRESS}
    verb.add_argument("--net", metavar="FILE", help="weights: a state dict (.pt)", **needed)
    verb.add_argument("--net-factory", metavar="MODULE:FUNCTION", help="returns the skorch net", **needed)
    verb.add_argument("--labeled", metavar="CSV", help="keys and labels so far (columns key, label)", **needed)
    verb.add_argument("--pool", metavar="PATH", help="folder of images, Parquet (file or folder), or .npy", **needed)
    verb.add_argument("-n", "--n-instances", type=_positive, metavar="N", help="labels to ask for", **needed)
    verb.add_argument("--out", default="picks.csv", metavar="CSV", help="file to write; others get its name")
    verb.add_argument("--overwrite", action="store_true", help="also where these files exist")
    verb.add_argument("--size", type=_positive, metavar="N", help="make images square, of N pixels a side")
    verb.add_argument("--transform", metavar="MODULE:FUNCTION", help="of an image (PIL) or an array to a tensor")
    verb.add_argument("--column", metavar="NAME", help="of Parquet: images or numbers (image)")
    verb.add_argument("--key", metavar="NAME", help="of Parquet: column of the keys")
    verb.add_argument("--gamma", type=float, default=2.0, metavar="G", help="weight of the inner product")
    verb.add_argument("--batch-size", type=_positive, metavar="N", help="samples a mini-batch")
    verb.add_argument("--max-unreadable", type=float, default=0.01, metavar="S", help="share that may be unreadable")
    verb.add_argument("--scores-dir", metavar="DIR", help="keep all scores there, as Parquet, and go on from them")
    verb.add_argument("--ray", metavar="ADDRESS", help='score on Ray: "auto", "local" or an address')
    verb.add_argument("--workers", type=_positive, metavar="N", help="of Ray")
    verb.add_argument("--gpus-per-worker", type=float, metavar="N", help="of Ray")
    verb.add_argument("--quiet", action="store_true", help="no progress bar")
    verb.set_defaults(run=_score)


def _score(args):
    from skdal.parallel import RayExecutor, SerialExecutor
    from skdal.score import open_pool, score

    if args.ray is None and (args.workers or args.gpus_per_worker is not None):
        raise InvalidParameterError("--workers and --gpus-per-worker are for --ray; add --ray local or --ray auto.")
    pool = open_pool(
        args.pool,
        column=args.column,
        key=args.key,
        size=args.size,
        max_unreadable=args.max_unreadable,
        transform=args.transform,
    )
    executor = SerialExecutor(scores_dir=args.scores_dir)
    if args.ray is not None:
        executor = RayExecutor(args.ray, args.workers, args.gpus_per_worker, scores_dir=args.scores_dir)
    how = {"gamma": args.gamma, "batch_size": args.batch_size, "verbose": 0 if args.quiet else 1}
    try:
        paths = score(
            args.net_factory,
            args.net,
            args.labeled,
            pool,
            args.n_instances,
            args.out,
            overwrite=args.overwrite,
            executor=executor,
            **how,
        )
    finally:
        executor.shutdown()
    for path in paths:
        print(path)
    return 0


def _positive(text):
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1; got {text!r}")
    return value


if __name__ == "__main__":
    sys.exit(main())

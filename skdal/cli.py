"""The command line: `skdal demo`."""

import argparse
import sys
import time

import skdal
from skdal.exceptions import InvalidParameterError, SkdalError


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
    return parser


def _add_demo(verbs):
    demo = verbs.add_parser(
        "demo",
        help="compare dynamicAL with margin and random sampling on handwritten digits",
        description="Active learning on scikit-learn's handwritten digits: a small CNN, a few rounds of dynamicAL "
        "beside margin and random sampling. Prints a table and writes learning_curve.png and queries.png.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
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

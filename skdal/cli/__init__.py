"""The command line: `skdal demo | run | table | plot | theory | score`.

Packages that take long to import are imported by a verb when it runs: `skdal --help` does without
torch.
"""

import argparse
import sys

import skdal
from skdal.cli._demo import add_demo
from skdal.cli._results import add_plot, add_table
from skdal.cli._run import add_run
from skdal.cli._sampler_params import sampler_params_of as sampler_params_of
from skdal.cli._score import add_score
from skdal.cli._theory import add_theory
from skdal.exceptions import InvalidParameterError, SkdalError

_VERBS = (add_demo, add_run, add_table, add_plot, add_theory, add_score)


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
    parser.add_argument(
        "--version", action="version", version=f"skdal {skdal.__version__}"
    )
    verbs = parser.add_subparsers(dest="verb", metavar="verb", required=True)
    for add in _VERBS:
        add(verbs)
    return parser

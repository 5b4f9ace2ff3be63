"""`skdal theory`."""

import argparse

from skdal.cli._arguments import Help, positive
from skdal.exceptions import InvalidParameterError


def add_theory(verbs):
    """Add the verb."""
    theory = verbs.add_parser(
        "theory",
        help="rerun the paper's verification experiments",
        description="Does each link of the paper's theory hold: training dynamics, alignment, "
        "generalization bound? Prints a table with the paper's values and writes a figure. "
        "Results, kernels and runs are kept in DIR: stop whenever you like, and give the same "
        "command again to go on.",
        epilog="Experiments: fig1, fig2, fig4, fig6, fig7, fig9, table10. One computation serves "
        "fig2, fig6 and fig7, another one fig1, fig9 and table10.",
        formatter_class=Help,
    )
    theory.add_argument("name", metavar="NAME", help="such as fig2")
    theory.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="folder of the results",
    )
    theory.add_argument(
        "--quick",
        action="store_true",
        help="small sizes on handwritten digits, in a minute",
    )
    theory.add_argument(
        "--pixels",
        type=positive,
        metavar="N",
        help="side of the images of infinite kernels (16)",
    )
    theory.add_argument(
        "--dtype",
        choices=("float64", "float32"),
        help="of infinite kernels; float32 takes three quarters of the time",
    )
    theory.add_argument(
        "--dataset", metavar="NAME", help="a name, an .npz file or a folder (cifar10)"
    )
    theory.add_argument(
        "--models", nargs="+", metavar="NAME", help="of fig4 (cnn resnet18)"
    )
    theory.add_argument(
        "--seed", type=int, metavar="N", help="of the labeled set and the draws (0)"
    )
    theory.add_argument(
        "--data-root", default="data", metavar="DIR", help="where the data sets are"
    )
    theory.add_argument(
        "--download",
        action="store_true",
        help="fetch missing data sets, through torchvision",
    )
    theory.add_argument(
        "--device", default="cpu", help="of nets and kernels, such as cuda"
    )
    theory.add_argument(
        "--format",
        default="markdown",
        choices=("markdown", "latex", "rst"),
        help="of the table",
    )
    theory.add_argument("--quiet", action="store_true", help="no progress bars")
    theory.set_defaults(run=_theory)


def _theory(args):
    import dataclasses

    from skdal.experiments.theory import QUICK, THEORY, TheorySettings, run_theory
    from skdal.utils import check_known

    changes = {
        "pixels": args.pixels,
        "dtype": args.dtype,
        "dataset": args.dataset,
        "seed": args.seed,
    }
    changes["models"] = None if args.models is None else tuple(args.models)
    experiment = THEORY[
        check_known("verification experiment", args.name, THEORY)
    ].experiment
    if useless := [
        f"--{key}"
        for key, value in changes.items()
        if value is not None and key not in experiment.USES
    ]:
        raise InvalidParameterError(
            f"{args.name} has no use for {', '.join(useless)}; leave it out."
        )
    settings = dataclasses.replace(
        QUICK if args.quick else TheorySettings(),
        **{key: value for key, value in changes.items() if value is not None},
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

"""How every figure of the package looks: its colours, its axes, its files."""

from contextlib import nullcontext

BLUE = "#1f5fa8"  # what a figure is about: dynamicAL, or what it picked
ORANGE = "#d9822b"
GREEN = "#2a9d5c"
RED = "#c0392b"
PURPLE = "#8e44ad"
CYAN = "#17a2b8"
OLIVE = "#b5a400"
PINK = "#e377c2"
BROWN = "#5d4037"
GREY = "#7f7f7f"  # random sampling
PALE = "#b8bcc2"  # what is in the background, such as a pool behind its picks
INK = "#444444"  # lines and marks that explain

_DOTS_PER_INCH = 150


def tidy(axes, *, grid=True, label_size=None):
    """Take the frame's upper and right side away, and draw a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    if grid:
        axes.grid(alpha=0.25, linewidth=0.6)
    if label_size is not None:
        axes.tick_params(labelsize=label_size)


def save_figure(figure, kind, out):
    """Write a figure so that the same data give the same file.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    kind : str
        Such as "png" or "svg".
    out : binary file
    """
    is_svg = kind == "svg"
    with _reproducible_names() if is_svg else nullcontext():
        metadata = {"Date": None} if is_svg else None
        figure.savefig(out, format=kind, dpi=_DOTS_PER_INCH, metadata=metadata)


def _reproducible_names():
    """Return a context in which the elements of SVG files have the same names each time."""
    from matplotlib import rc_context  # seconds that only those who draw wait for

    return rc_context({"svg.hashsalt": "skdal"})

"""Compute a labeled set of Table 10 again in float64, to see what float32 changed.

`python benchmarks/check_float32.py docs/results/theory/discrepancy-HASH.json --data-root DATA
--cache DIR` takes the images of a series (--series) in the order of its queries, computes their
kernel in float64 and writes B and MMD^2 of every round, beside those of the result, into
docs/results/theory/float32-SERIES.json. 1,500 images of 16x16 take 25 minutes on two cores; DIR
keeps what is done.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from skdal.datasets import load_dataset
from skdal.dynamics import infinite_ntk
from skdal.experiments._environment import versions
from skdal.experiments.theory import TheorySettings
from skdal.experiments.theory._discrepancy import _rows
from skdal.experiments.theory._settings import THEORY_NET, kernel_images

HERE = Path(__file__).resolve().parents[1] / "docs" / "results" / "theory"


def main():
    """Compute and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", type=Path)
    parser.add_argument("--series", default="random-100")
    parser.add_argument("--data-root", default="data")
    parser.add_argument("--cache", default=None)
    args = parser.parse_args()
    held = json.loads(args.result.read_text())
    settings, order = (
        TheorySettings(**held["settings"]),
        np.array(held["orders"][args.series]),
    )
    sampler, batch = args.series.rsplit("-", 1)
    data = load_dataset(settings.dataset, args.data_root)
    images = kernel_images(data.train, order, settings.pixels)
    theta = infinite_ntk(
        images, **THEORY_NET, dtype="float64", cache_dir=args.cache, verbose=1
    )
    exact = _rows(sampler, int(batch), order, theta, data, settings.n_initial)
    short = [
        row
        for row in held["rows"]
        if (row["sampler"], row["batch"]) == (sampler, int(batch))
    ]
    rows = [
        {
            "n": a["n"],
            **{
                key: [a[key], b[key]] for key in ("bound", "mmd_squared", "eigenvalues")
            },
        }
        for a, b in zip(short, exact, strict=True)
    ]
    found = {
        "result": args.result.name,
        "series": args.series,
        "rows": rows,
        "versions": versions(),
    }
    file = HERE / f"float32-{args.series}.json"
    file.write_text(json.dumps(found, separators=(",", ":"), allow_nan=False) + "\n")
    for row in rows:
        bound, mmd = (np.divide(*row[key]) - 1 for key in ("bound", "mmd_squared"))
        print(f"n = {row['n']}: B is off by {bound:+.2g}, MMD^2 by {mmd:+.2g}")


if __name__ == "__main__":
    main()

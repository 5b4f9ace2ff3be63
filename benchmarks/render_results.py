"""Keep the results of experiments in the documentation.

`python benchmarks/render_results.py [--add DIR ...]` copies the specs and logs of all finished runs below each DIR
(a folder that `skdal run` wrote) to docs/results/records, without checkpoints, and draws the tables and plots of all
records anew: docs/results/tables/*.rst and docs/results/plots. A test holds the tables against the records.
"""

import argparse
import shutil
from pathlib import Path

from skdal.experiments import comparisons, format_comparison, write_plots

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
MEASURES = ("accuracy", "optimistic_accuracy")


def add(folder):
    """Copy what a folder has of finished runs."""
    for log in sorted(Path(folder).glob("*/rounds.jsonl")):
        if log.read_text().splitlines()[-1].find('"queried":[]') > 0:
            target = RESULTS / "records" / log.parent.name
            target.mkdir(parents=True, exist_ok=True)
            for name in ("spec.json", "rounds.jsonl"):
                shutil.copyfile(log.parent / name, target / name)


def tables():
    """Return the text of every table of the records, by name."""
    found = {}
    for comparison in comparisons(RESULTS / "records"):
        for measure in MEASURES:
            for part in ("rounds", "summary", "penalty"):
                text = format_comparison(comparison, measure=measure, style="rst", parts=[part])
                name = f"{comparison.name}-{comparison.dataset}-{measure}-{part}"
                found[name] = text.split("\n\n", 2)[2] if text.count("\n\n") > 1 else ""
    return {name: text for name, text in found.items() if text}


def main():
    """Copy, then draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--add", nargs="+", default=[], metavar="DIR")
    for folder in parser.parse_args().add:
        add(folder)
    (RESULTS / "tables").mkdir(parents=True, exist_ok=True)
    for name, text in tables().items():
        (RESULTS / "tables" / f"{name}.rst").write_text(text)
    for comparison in comparisons(RESULTS / "records"):
        for measure in MEASURES:
            write_plots(comparison, RESULTS / "plots", measure=measure)


if __name__ == "__main__":
    main()

"""The tables of the documentation are those of the benchmarks' records."""

import json
import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_table_is_that_of_its_record():
    written = {
        path.stem: path.read_text() for path in (ROOT / "docs" / "tables").glob("*.rst")
    }
    assert written == runpy.run_path(ROOT / "benchmarks" / "tables.py")["tables"]()


def test_what_the_documentation_says_of_peers():
    rows = json.loads((ROOT / "benchmarks" / "results" / "peers.json").read_text())[
        "rows"
    ]
    picks = [row for row in rows if row["part"] == "picks"]
    assert all(row["our duplicates"] == 0 for row in picks)
    same = [
        row["in common"]
        for row in picks
        if row["strategy"] in ("confidence", "margin", "entropy")
    ]
    assert same == [[50] * 5] * 6
    faults = [row for row in rows if row["part"] == "faults"]
    assert {row["peer"].split()[0] for row in faults} == {
        "scikit-activeml",
        "small-text",
        "modAL",
    }
    assert all(row["theirs"] != row["ours"] for row in faults)

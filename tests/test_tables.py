"""The tables of the documentation are those of the benchmarks' records."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_table_is_that_of_its_record():
    written = {path.stem: path.read_text() for path in (ROOT / "docs" / "tables").glob("*.rst")}
    assert written == runpy.run_path(ROOT / "benchmarks" / "tables.py")["tables"]()

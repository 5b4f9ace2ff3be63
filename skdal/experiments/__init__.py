"""Experiments: frozen specs of runs, the round loop, a store that survives being killed, tables and
plots.
"""

from skdal.experiments._comparison import Comparison, comparisons
from skdal.experiments._demo import run_demo
from skdal.experiments._jobs import Ended, run_all
from skdal.experiments._plots import write_plots
from skdal.experiments._records import StoredRun, read_records, write_records
from skdal.experiments._run import run
from skdal.experiments._spec import RunSpec, Training
from skdal.experiments._store import RunFolder
from skdal.experiments._suite_run import run_suite
from skdal.experiments._suites import SUITES, Suite, specs_of, suites_of
from skdal.experiments._tables import format_comparison, format_csv

__all__ = [
    "SUITES",
    "Comparison",
    "Ended",
    "RunFolder",
    "RunSpec",
    "StoredRun",
    "Suite",
    "Training",
    "comparisons",
    "format_comparison",
    "format_csv",
    "read_records",
    "run",
    "run_all",
    "run_demo",
    "run_suite",
    "specs_of",
    "suites_of",
    "write_plots",
    "write_records",
]

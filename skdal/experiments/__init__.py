"""Experiments: frozen specs of runs, the round loop, a store that survives being killed, tables and
plots.
"""

from skdal.experiments._comparison import Comparison, comparisons
from skdal.experiments._comparison import comparison_of as comparison_of
from skdal.experiments._demo import draw_query as draw_query
from skdal.experiments._demo import format_demo as format_demo
from skdal.experiments._demo import run_demo
from skdal.experiments._jobs import Ended, run_all
from skdal.experiments._plots import draw as draw
from skdal.experiments._plots import write_plots
from skdal.experiments._records import StoredRun, read_records, write_records
from skdal.experiments._run import NextQuery as NextQuery
from skdal.experiments._run import PeakMemory as PeakMemory
from skdal.experiments._run import load as load
from skdal.experiments._run import make_net as make_net
from skdal.experiments._run import make_sampler as make_sampler
from skdal.experiments._run import next_query as next_query
from skdal.experiments._run import run
from skdal.experiments._spec import RunSpec, Training
from skdal.experiments._statistics import area_under_curve as area_under_curve
from skdal.experiments._statistics import labels_saved as labels_saved
from skdal.experiments._statistics import paired_difference as paired_difference
from skdal.experiments._statistics import penalty_matrix as penalty_matrix
from skdal.experiments._store import RunFolder
from skdal.experiments._suite_run import run_suite
from skdal.experiments._suites import SUITES, Suite, specs_of, suites_of
from skdal.experiments._tables import format_comparison, format_csv
from skdal.experiments._tables import summary_table as summary_table
from skdal.experiments._train import measure as measure
from skdal.experiments._train import train_until_learned as train_until_learned

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

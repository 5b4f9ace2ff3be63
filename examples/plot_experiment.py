"""
An experiment that can be stopped and trusted
=============================================

Is a sampler worth it on your data? A suite runs samplers from the same labels and weights, stores
every round, and is compared in pairs of seeds. Here a short one on scikit-learn's digits; in a
shell it is ``skdal run digits-quick --out DIR``.
"""

import tempfile

import matplotlib.pyplot as plt
import numpy as np

from skdal.experiments import comparisons, format_comparison, run_suite

folder = tempfile.mkdtemp()

# %%
# Three samplers, three seeds, three queries. Give the same call again after an interruption and it
# does what is left.

ended = run_suite(
    "digits-quick",
    folder,
    n_seeds=3,
    n_rounds=3,
    labels=["random", "margin", "dynamical"],
)
print(f"{len(ended.done)} runs are done, {len(ended.failed)} failed")

# %%
# The records are read back from the folder. Differences to random are paired by seed, since runs
# of one seed share their first labels and weights; with three seeds the intervals are wide, and
# say so.

(comparison,) = comparisons(folder)
print(format_comparison(comparison, parts=["summary"]))

# %%
# The same numbers as arrays: a curve for each seed.

figure, axes = plt.subplots(figsize=(6.5, 4), layout="constrained")
for label in comparison.labels:
    curves = 100 * comparison.curves(label)
    error = curves.std(axis=0, ddof=1) / np.sqrt(len(curves))
    axes.errorbar(
        comparison.n_labeled,
        curves.mean(axis=0),
        yerr=error,
        marker="o",
        capsize=3,
        label=label,
    )
axes.set_xlabel("labels")
axes.set_ylabel("accuracy in %")
axes.set_title(
    "Digits: mean and standard error of three seeds", loc="left", fontsize=11
)
axes.legend(frameon=False)
plt.show()

# %%
# A record says what was asked for, and what it cost.

first = comparison.runs["dynamical"][0][0]
print(
    f"{first['n_labeled']} labels, {first['epochs']} epochs, then a query of "
    f"{first['query_seconds']} s"
)
print("images of each digit in the query:", first["classes"])

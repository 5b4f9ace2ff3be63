"""Without scikit-activeml: importing works, using its adapters says what to install."""

import subprocess
import sys

PROGRAM = """
import sys
sys.modules["skactiveml"] = None  # as if it were not installed
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from skdal.interop import MissingExtraError, ModalSampler, SkactivemlSampler, SkactivemlStrategy
from skdal.samplers import MarginSampler

X, y = np.arange(10.0)[:, None], np.arange(10) % 2
classifier = LogisticRegression().fit(X, y)
sampler = SkactivemlSampler(classifier, strategy=None)
for use in (lambda: SkactivemlStrategy(MarginSampler()), lambda: sampler.fit(X, y), lambda: sampler(classifier, X)):
    with pytest.raises(MissingExtraError, match="pip install skdal.activeml."):
        use()
sampler = ModalSampler(LogisticRegression(), strategy=lambda learner, X, n_instances: np.arange(n_instances))
assert sampler.fit(X, y).query(X, 2).tolist() == [0, 1]
"""


def test_without_the_extra():
    subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM], check=True)

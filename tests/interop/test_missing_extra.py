"""Without an extra: importing works, using what needs it says what to install."""

import subprocess
import sys

import pytest

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
uses = (
    lambda: SkactivemlStrategy(MarginSampler()),
    lambda: sampler.fit(X, y),
    lambda: sampler(classifier, X),
)
for use in uses:
    with pytest.raises(MissingExtraError, match="pip install skdal.activeml."):
        use()
first = lambda learner, X, n_instances: np.arange(n_instances)
sampler = ModalSampler(LogisticRegression(), strategy=first)
assert sampler.fit(X, y).query(X, 2).tolist() == [0, 1]
"""


@pytest.mark.slow
def test_without_the_extra():
    subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM], check=True)


WITHOUT_RAY = """
import sys
sys.modules["ray"] = sys.modules["pyarrow.parquet"] = None  # as if they were not installed
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from skdal.pools import ParquetPool
from skdal.exceptions import MissingExtraError
from skdal.parallel import RayExecutor, SerialExecutor
from skdal.samplers import MarginSampler

X, y = np.arange(10.0)[:, None], np.arange(10) % 2
stored = MarginSampler(LogisticRegression(), executor=SerialExecutor(scores_dir="scores")).fit(X, y)
open("x.parquet", "w").close()
for use in (RayExecutor, lambda: stored.query(X, 2), lambda: ParquetPool("x.parquet")):
    with pytest.raises(MissingExtraError, match="pip install skdal.ray."):
        use()
sampler = MarginSampler(LogisticRegression(), executor=SerialExecutor(shard_size=3)).fit(X, y)
assert len(sampler.query(X, 2)) == 2
"""


@pytest.mark.slow
def test_without_ray(tmp_path):
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT_RAY], check=True, cwd=tmp_path
    )

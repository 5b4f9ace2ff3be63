"""What large pools cost: seconds and memory by size, and what Ray adds and saves.

Serial: pools of 10 thousand, 100 thousand and 1 million random 8x8 colour images in a .npy file, a small dense net,
each in a process of its own on one thread; seconds of a query of 500, and the largest anonymous memory (what is not a
file in memory). Ray: 100,000 images of 32x32, the tutorial CNN, 1,000 labeled; the serial path on one thread, and Ray
with one and with two workers of one thread, in turns, workers started before. Recorded in results/pool-serial.json and
results/pool-ray.json.

`python benchmarks/bench_pool.py [serial] [ray]`
"""

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from _common import make_net, print_table, write_results
from sklearn.frozen import FrozenEstimator
from torch import nn

from skdal import DynamicALSampler
from skdal.datasets import MemmapPool
from skdal.parallel import RayExecutor

SIZES = (10_000, 100_000, 1_000_000)
TURNS = 5
N_RAY = 100_000


def as_image(row):
    """Return a stored image as the nets take it."""
    return torch.from_numpy(row).float().div_(255)


def write_pool(path, n, side):
    """Write n random images, a part at a time."""
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (n, 3, side, side))
    rng = np.random.default_rng(0)
    for start in range(0, n, 10_000):
        images[start : start + 10_000] = rng.integers(0, 256, images[start : start + 10_000].shape, dtype=np.uint8)
    images.flush()


def sampler_of(net, pool, n_labeled, executor=None):
    """Return a sampler on an untrained net, bound to the first samples of a pool."""
    labeled = torch.stack([pool[i] for i in range(n_labeled)])
    sampler = DynamicALSampler(FrozenEstimator(net), executor=executor)
    return sampler.fit(labeled, np.arange(n_labeled) % 10)


def dense_net():
    """Return a small module for images of 8x8 pixels."""
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 64), nn.ReLU(), nn.Linear(64, 10))


class Peak(threading.Thread):
    """The largest anonymous memory of this process in MB, looked at every 20 ms."""

    def __init__(self):
        super().__init__(daemon=True)
        self.value, self._stop_it = 0.0, threading.Event()

    def run(self):
        while not self._stop_it.wait(0.02):
            lines = Path("/proc/self/status").read_text().splitlines()
            (line,) = [line for line in lines if line.startswith("RssAnon")]
            self.value = max(self.value, int(line.split()[1]) / 1024)

    def end(self):
        self._stop_it.set()
        self.join()
        return self.value


def one_serial(path):
    """Print seconds and memory of a query, as JSON."""
    torch.set_num_threads(1)
    pool = MemmapPool(path, transform=as_image)
    sampler = sampler_of(make_net(dense_net()), pool, 100)
    peak = Peak()
    peak.start()
    start = time.perf_counter()
    sampler.query(pool, 500)
    print(json.dumps({"seconds": time.perf_counter() - start, "MB": peak.end()}))


def serial_rows(folder):
    """Return seconds and memory by size of the pool, medians over turns."""
    rows = []
    for n in SIZES:
        path = Path(folder) / f"{n}.npy"
        write_pool(path, n, 8)
        call = [sys.executable, __file__, "one", str(path)]
        found = [json.loads(subprocess.run(call, capture_output=True, check=True).stdout) for _ in range(TURNS)]
        median = {key: statistics.median(one[key] for one in found) for key in found[0]}
        seconds = [one["seconds"] for one in found]
        rows.append({"images": n, **median, "spread": [min(seconds), max(seconds)]})
        rows[-1]["microseconds an image"] = 1e6 * median["seconds"] / n
        print(rows[-1], flush=True)
        path.unlink()
    return rows


def ray_rows(folder):
    """Return seconds of a query here, with one worker and with two."""
    path = Path(folder) / "ray.npy"
    write_pool(path, N_RAY, 32)
    pool = MemmapPool(path, transform=as_image)
    torch.set_num_threads(1)
    one, two = RayExecutor("local", 1), RayExecutor(num_workers=2)
    samplers = {
        name: sampler_of(make_net("cnn"), pool, 1000, executor)
        for name, executor in (("serial", None), ("1", one), ("2", two))
    }
    seconds, picks = {name: [] for name in samplers}, {}
    for turn in range(3):
        for name, sampler in samplers.items():
            executor = sampler.executor
            if executor is not None:
                start = time.perf_counter()
                while len(executor.worker_pids()) < executor.num_workers:
                    sampler.query(torch.utils.data.Subset(pool, range(64)), 1)
                    time.sleep(0.2)
                print(f"{name} workers are there after {time.perf_counter() - start:.1f} s", flush=True)
            start = time.perf_counter()
            picks[name] = sampler.query(pool, 500).tolist()
            seconds[name].append(time.perf_counter() - start)
            print(turn, name, round(seconds[name][-1], 2), flush=True)
            if executor is not None:
                executor.shutdown()  # its cores are needed
    assert picks["serial"] == picks["1"] == picks["2"]
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "images": N_RAY,
        "seconds": median,
        "all": seconds,
        "overhead of one worker": median["1"] / median["serial"] - 1,
        "efficiency of two workers": median["1"] / median["2"] / 2,
        "the same picks": True,
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        one_serial(sys.argv[2])
        sys.exit()
    wanted = set(sys.argv[1:]) or {"serial", "ray"}
    with tempfile.TemporaryDirectory() as root:
        if "serial" in wanted:
            write_results("pool-serial", serial_rows(root))
        if "ray" in wanted:
            found = ray_rows(root)
            print_table([found])
            write_results("pool-ray", [found])

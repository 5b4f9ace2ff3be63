"""What large pools cost: seconds and memory by size, and what Ray adds and saves.

Serial: pools of 10 thousand, 100 thousand and 1 million random 8x8 colour images in a .npy file, a
small dense net, each in a process of its own on one thread; seconds of a query of 500, and the
largest anonymous memory (what is not a file in memory). Ray: 100,000 images of 32x32, the tutorial
CNN, 1,000 labeled; the serial path on one thread, and Ray with one and with two workers of one
thread, in turns, workers started before. Recorded in results/pool-serial.json and
results/pool-ray.json.

Parts: what a model of larger clusters is made of, in results/pool-parts.json: the driver's seconds
for a shard that costs nothing, and for the merge of its 500 best; a core's seconds to decode a JPEG
of 500x375 pixels to 224x224; and the bytes of a ResNet-18 with its direction, and of what comes
back of a shard.

`python benchmarks/bench_pool.py [serial] [ray] [parts]`
"""

import io
import json
import pickle
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cloudpickle
import numpy as np
import torch
from _common import make_net, print_table, write_results
from PIL import Image
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from torch import nn

from skdal import DynamicALSampler
from skdal.adapters import packed
from skdal.base import Best, Part
from skdal.parallel import RayExecutor
from skdal.pools import MemmapPool, square
from skdal.samplers import MarginSampler

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
        images[start : start + 10_000] = rng.integers(
            0, 256, images[start : start + 10_000].shape, dtype=np.uint8
        )
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
        found = [
            json.loads(subprocess.run(call, capture_output=True, check=True).stdout)
            for _ in range(TURNS)
        ]
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
                print(
                    f"{name} workers are there after {time.perf_counter() - start:.1f} s",
                    flush=True,
                )
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


def parts_rows():
    """Return the parts of the cost model."""
    X = np.random.default_rng(0).random((16_000, 4))
    classifier = LogisticRegression().fit(X[:100], np.arange(100) % 2)
    with RayExecutor("local", 1, shard_size=8) as executor:
        sampler = MarginSampler(FrozenEstimator(classifier), executor=executor).fit(
            X[:100], np.arange(100) % 2
        )
        sampler.query(X[:64], 8)
        shard = min(seconds(sampler.query, X, 500) for _ in range(3)) / 2000
    columns = {
        name: np.random.default_rng(1).random(500)
        for name in ("score", "sq_norm", "dot", "label")
    }
    best = Best(500)
    nothing = np.empty(0, dtype=np.intp)
    parts = [
        Part(k, np.arange(500) + 500 * k, columns, [], nothing) for k in range(1000)
    ]
    merge = seconds(lambda: [best.add(part) for part in parts]) / len(parts)
    photo = io.BytesIO()
    noise = np.random.default_rng(2).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC).save(
        photo, "JPEG", quality=90
    )
    decode = (
        seconds(lambda: [square(io.BytesIO(photo.getvalue()), 224) for _ in range(200)])
        / 200
    )
    net = make_net("resnet18")
    numbers = sum(p.numel() for p in net.module_.parameters())
    return {
        "driver, seconds a shard": shard,
        "merge of 500, seconds a shard": merge,
        "decoding, seconds an image": decode,
        "JPEG, bytes": len(photo.getvalue()),
        "net, bytes": len(cloudpickle.dumps(packed(net))),
        "direction, bytes": 8 * numbers,
        "500 best of a shard, bytes": len(pickle.dumps((np.arange(500), columns))),
    }


def seconds(call, *args):
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    call(*args)
    return time.perf_counter() - start


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        one_serial(sys.argv[2])
        sys.exit()
    wanted = set(sys.argv[1:]) or {"serial", "ray", "parts"}
    with tempfile.TemporaryDirectory() as root:
        if "serial" in wanted:
            write_results("pool-serial", serial_rows(root))
        if "parts" in wanted:
            write_results("pool-parts", [parts_rows()])
        if "ray" in wanted:
            found = ray_rows(root)
            print_table([found])
            write_results("pool-ray", [found])

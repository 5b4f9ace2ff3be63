"""What per-sample statistics cost, as a multiple of a forward and backward pass of the same
mini-batches.

`python benchmarks/bench_speed.py [NET ...]` times, side by side in one process and in turns:

forward, forward + backward
    Of the plain module, in eval mode.
statistics
    `gradient_statistics` with a direction, everything included: mini-batches, proof of coverage,
    self-check.
inner products
    The same without squared norms.
last layer
    `gradient_statistics` with `layers="last"`: a forward pass and the head.
per mini-batch
    The same as statistics, without what is done once a query and the fetching of mini-batches.
backpack, vmap(grad), opacus, a backward a sample
    What others do, on a few samples: gradients of each, then norm and inner product. Opacus gets a
    copy in train mode, without dropout and in-place activations.

Medians are recorded in results/speed-<device>.json, and peak memory, for which on CPUs every pair
of net and method runs in a process of its own (`--peak NET METHOD`).
"""

import argparse
import copy
import json
import statistics
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torchvision
from _common import CNN, MB, Peak, make_net, print_table, read_rows, write_results
from torch import nn

from skdal.adapters import open_net
from skdal.gradients import gradient_statistics
from skdal.gradients._api import compute_statistics
from skdal.gradients._backends import StatisticsPass

REPEATS = 7


@dataclass(frozen=True)
class Net:
    """A net and its data: mini-batches of `shape`, `n_batches` of them, `few` samples for slow
    methods.
    """

    module: Callable
    shape: tuple
    n_batches: int
    few: int


def mlp():
    return nn.Sequential(
        nn.Linear(784, 512),
        nn.ReLU(),
        nn.Linear(512, 512),
        nn.ReLU(),
        nn.Linear(512, 10),
    )


def vit():
    return torchvision.models.VisionTransformer(
        image_size=32,
        patch_size=4,
        num_layers=4,
        num_heads=4,
        hidden_dim=128,
        mlp_dim=256,
        num_classes=10,
    )


NETS = {
    "cnn@32": Net(CNN, (128, 3, 32, 32), 64, 64),
    "resnet18@32": Net(
        lambda: torchvision.models.resnet18(num_classes=10), (128, 3, 32, 32), 20, 8
    ),
    "vgg11@32": Net(
        lambda: torchvision.models.vgg11(num_classes=10), (128, 3, 32, 32), 6, 1
    ),
    "resnet18@224": Net(
        lambda: torchvision.models.resnet18(num_classes=10), (16, 3, 224, 224), 6, 2
    ),
    "vit@32": Net(vit, (128, 3, 32, 32), 20, 8),
    "mlp": Net(mlp, (256, 784), 96, 128),
}


class Autocast(nn.Module):
    """A module that computes in bfloat16 where torch holds that for safe."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            return self.module(x)


class Problem:
    """A net, its mini-batches on a device, and a direction."""

    def __init__(self, name, device="cpu", precision="float32"):
        spec = NETS[name]
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = (
            precision == "TF32"
        )
        module = Autocast(spec.module()) if precision == "bfloat16" else spec.module()
        self.net = make_net(module, device)
        self.module = self.net.module_.eval()
        generator = torch.Generator().manual_seed(0)
        self.batch_size, self.few = spec.shape[0], spec.few
        self.X = torch.randn(
            spec.n_batches * spec.shape[0], *spec.shape[1:], generator=generator
        )
        self.y = torch.randint(10, (len(self.X),), generator=generator)
        self.direction = {
            name: torch.randn_like(p) for name, p in self.module.named_parameters()
        }
        self.device = device

    def batches(self):
        for X, y in zip(self.X.split(self.batch_size), self.y.split(self.batch_size)):
            yield X.to(self.device), y.to(self.device)

    def first(self):
        return self.X[: self.few].to(self.device), self.y[: self.few].to(self.device)


def forward(problem):
    def run():
        with torch.no_grad():
            for X, _ in problem.batches():
                problem.module(X)

    return run, len(problem.X)


def forward_backward(problem):
    def run():
        for X, y in problem.batches():
            problem.module.zero_grad()
            nn.functional.cross_entropy(problem.module(X), y).backward()

    return run, len(problem.X)


def whole_query(problem):
    settings = {"direction": problem.direction, "batch_size": problem.batch_size}
    return lambda: gradient_statistics(problem.net, problem.X, **settings), len(
        problem.X
    )


def inner_products(problem):
    settings = {
        "direction": problem.direction,
        "batch_size": problem.batch_size,
        "layers": "all",
        "backend": "auto",
    }
    return lambda: compute_statistics(
        problem.net, problem.X, verbose=0, only_dot=True, **settings
    ), len(problem.X)


def last_layer(problem):
    settings = {
        "direction": problem.direction,
        "batch_size": problem.batch_size,
        "layers": "last",
    }
    return lambda: gradient_statistics(problem.net, problem.X, **settings), len(
        problem.X
    )


def steady(problem):
    scoring, view = _warm(problem, *next(problem.batches()), "auto")

    def run():
        with view.reading():
            for X, y in problem.batches():
                scoring(X, y)

    return run, len(problem.X)


def with_backend(backend):
    def method(problem):
        X, y = problem.first()
        scoring, view = _warm(problem, X, y, backend)

        def run():
            with view.reading():
                scoring(X, y)

        return run, len(X)

    return method


def _warm(problem, X, y, backend):
    view = open_net(problem.net)
    scoring = StatisticsPass(view, direction=problem.direction, backend=backend)
    with view.reading():
        scoring(X, y)
    return scoring, view


def opacus(problem):
    from opacus.grad_sample import GradSampleModule

    twin = copy.deepcopy(problem.module).train()  # Opacus sees nothing in eval mode
    for part in twin.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        if hasattr(part, "inplace"):
            part.inplace = False
    wrapped = GradSampleModule(twin, loss_reduction="sum")
    X, y = problem.first()

    def run():
        wrapped.zero_grad()
        nn.functional.cross_entropy(wrapped(X), y, reduction="sum").backward()
        grads = [
            (p.grad_sample.flatten(1), problem.direction[name])
            for name, p in twin.named_parameters()
        ]
        return sum(g.square().sum(1) for g, _ in grads), sum(
            g @ v.flatten() for g, v in grads
        )

    run()
    return run, len(X)


METHODS = {
    "forward": forward,
    "forward + backward": forward_backward,
    "statistics": whole_query,
    "per mini-batch": steady,
    "inner products": inner_products,
    "last layer": last_layer,
    "backpack": with_backend("backpack"),
    "vmap(grad)": with_backend("functorch"),
    "opacus": opacus,
    "a backward a sample": with_backend("loop"),
}
FLOOR = "forward + backward"


def compare(name, device, precision):
    """Return rows, one a method: seconds a sample, and their ratio to the floor."""
    problem = Problem(name, device, precision)
    runs, reasons = {}, {}
    for method, make in METHODS.items():
        try:
            runs[method] = make(problem)
        except Exception as error:  # what others cannot do is a row, too
            reasons[method] = textwrap.shorten(f"{type(error).__name__}: {error}", 200)
    times = {method: [] for method in runs}
    for repeat in range(REPEATS + 1):
        for method, (run, n_samples) in runs.items():
            seconds = _timed(run, device)
            if repeat:  # the first turn warms up
                times[method].append(seconds / n_samples)
    floor = statistics.median(times[FLOOR])
    rows = []
    for method in METHODS:
        row = {"net": name, "device": device, "precision": precision, "method": method}
        if method in runs:
            found = times[method]
            row |= {
                "ms a sample": 1e3 * statistics.median(found),
                "ratio": statistics.median(found) / floor,
            }
            row |= {
                "lowest ratio": min(found) / floor,
                "highest ratio": max(found) / floor,
                "refused": None,
            }
        else:
            row |= dict.fromkeys(
                ("ms a sample", "ratio", "lowest ratio", "highest ratio")
            ) | {"refused": reasons[method]}
        rows.append(row)
    return rows


def _timed(run, device):
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak(name, method, device, precision):
    """Return the memory, in MB, that a method needs beyond net, data and direction, in this
    process.
    """
    problem = Problem(name, device, precision)
    problem.X, problem.y = (
        problem.X[: 2 * problem.batch_size],
        problem.y[: 2 * problem.batch_size],
    )
    with Peak(device) as found:
        METHODS[method](problem)[0]()
    return found.growth / MB


def peaks(name, device, precision):
    """Return `peak` by method, for the floor and for ours; on CPUs each of a fresh process."""
    if device == "cuda":  # which knows what is allocated
        return {
            method: peak(name, method, device, precision)
            for method in (FLOOR, "statistics")
        }
    found = {}
    for method in (FLOOR, "statistics"):
        command = [
            sys.executable,
            __file__,
            "--peak",
            name,
            method,
            "--device",
            device,
            "--precision",
            precision,
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        found[method] = json.loads(done.stdout)
    return found


def main():
    """Compare, print the table, write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("nets", nargs="*", metavar="NET", default=list(NETS))
    parser.add_argument("--peak", nargs=2, metavar=("NET", "METHOD"))
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu"
    )
    parser.add_argument(
        "--precision", default=None, choices=["float32", "TF32", "bfloat16"]
    )
    args = parser.parse_args()
    if args.peak:
        print(json.dumps(peak(*args.peak, args.device, args.precision)))
        return
    precisions = [args.precision or "float32"]
    if args.device == "cuda" and not args.precision:
        precisions = ["float32", "TF32", "bfloat16"]
    warnings.filterwarnings(
        "ignore", "There is a performance drop|Full backward hook is firing"
    )  # of others
    rows = []
    for name in args.nets:
        for precision in precisions:
            memory = peaks(name, args.device, precision)
            found = compare(name, args.device, precision)
            for row in found:
                row["peak MB"] = memory.get(row["method"])
                row["peak ratio"] = (
                    memory[row["method"]] / memory[FLOOR]
                    if row["method"] in memory
                    else None
                )
            print_table(found)
            rows += found
        kept = [
            row
            for row in read_rows(f"speed-{args.device}")
            if row["net"] not in args.nets
        ]
        print(
            f"written: {write_results(f'speed-{args.device}', rows + kept)}"
        )  # nets that were not asked for stay


if __name__ == "__main__":
    main()

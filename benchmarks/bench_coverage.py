"""By which way the parameters of well-known nets are handled, and what a pass costs.

For each net: how many of its parameters go by layer rules, by calls of `linear`, directly and by
modules handled by themselves, or the whole net's fallback; and the time of the statistics of one
mini-batch, once coverage is proven and checked, as a multiple of a forward and backward pass of
the same mini-batch. Both are timed in turns, five times each, and medians are compared. Numbers are
recorded in results/coverage.json, not judged.

`python benchmarks/bench_coverage.py [NET ...]` measures only those named, and then writes nothing.
"""

import statistics
import sys
import time
from collections import Counter

import torch
from _common import print_table, write_results
from skorch import NeuralNetClassifier
from torch import nn
from torchvision import models

from skdal.adapters import open_net
from skdal.gradients import labeled_gradient
from skdal.gradients._backends import StatisticsPass

REPEATS = 5
N_CLASSES = 10


class Attention(nn.Module):
    """Self-attention and a linear head, on sequences of 32 vectors of 64 numbers."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(64, 4, batch_first=True)
        self.head = nn.Linear(64, N_CLASSES)

    def forward(self, x):
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


class CrossAttention(Attention):
    """The first half of the sequence asks the second."""

    def forward(self, x):
        asking, asked = x.chunk(2, dim=1)
        return self.head(
            self.attention(asking, asked, asked, need_weights=False)[0].mean(1)
        )


class Recurrent(nn.Module):
    """A recurrent layer and a linear head on its last step."""

    def __init__(self, kind, **kwargs):
        super().__init__()
        self.layer = kind(64, 128, batch_first=True, **kwargs)
        self.head = nn.Linear(128 * (1 + self.layer.bidirectional), N_CLASSES)

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


def encoder():
    """Return two blocks of a transformer and a head on all positions."""
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return nn.Sequential(body, nn.Flatten(), nn.Linear(32 * 64, N_CLASSES))


def vision_transformer():
    """Return four blocks of the width of torchvision's vit_b_16."""
    return models.VisionTransformer(64, 16, 4, 12, 768, 3072, num_classes=N_CLASSES)


def torchvision_net(name):
    return lambda: models.get_model(name, weights=None, num_classes=N_CLASSES)


# module, shape of a mini-batch
NETS = {
    "MultiheadAttention": (Attention, (16, 32, 64)),
    "cross-attention": (CrossAttention, (16, 32, 64)),
    "TransformerEncoder": (encoder, (16, 32, 64)),
    "LSTM": (lambda: Recurrent(nn.LSTM), (16, 32, 64)),
    "LSTM 2x2": (
        lambda: Recurrent(nn.LSTM, num_layers=2, bidirectional=True),
        (16, 32, 64),
    ),
    "GRU": (lambda: Recurrent(nn.GRU), (16, 32, 64)),
    "vit, 4 blocks": (vision_transformer, (16, 3, 64, 64)),
    **{
        name: (torchvision_net(name), (16, 3, 64, 64))
        for name in (
            "convnext_tiny",
            "mobilenet_v3_small",
            "efficientnet_b0",
            "densenet121",
            "regnet_y_400mf",
            "swin_t",
            "swin_v2_t",
        )
    },
}


def ways(run):
    """Return how many parameters go each way."""
    plan = getattr(run._backend, "_plan", None)
    if plan is None:
        return {
            "backend": run._names[0],
            "rule": 0,
            "linear": 0,
            "directly": 0,
            "by itself": 0,
        }
    count = Counter(directly=len(plan.direct))
    for layer in plan.layers.values():
        count[layer.kind] += len(layer.names)
    count["by itself"] = count.pop("alone", 0)
    return {
        "backend": "ghost",
        **{way: count[way] for way in ("rule", "linear", "directly", "by itself")},
    }


def compare(name):
    """Return one row: parameters by way, median milliseconds, and their ratio."""
    make, shape = NETS[name]
    torch.manual_seed(0)
    net = NeuralNetClassifier(
        make(), criterion=nn.CrossEntropyLoss, train_split=None, verbose=0
    ).initialize()
    module, X, y = (
        net.module_.eval(),
        torch.randn(shape),
        torch.randint(N_CLASSES, shape[:1]),
    )
    view = open_net(net)
    run = StatisticsPass(view, direction=labeled_gradient(net, X, y))

    def forward_backward():
        module.zero_grad()
        nn.functional.cross_entropy(module(X), y).backward()

    tasks = {"forward+backward": forward_backward, "statistics": lambda: run(X)}
    times = {task: [] for task in tasks}
    with view.reading():
        for repeat in range(REPEATS + 1):
            for task, act in tasks.items():
                start = time.perf_counter()
                act()
                if repeat:  # the first turn proves coverage, checks and warms up
                    times[task].append(1e3 * (time.perf_counter() - start))
    plain, full = (statistics.median(values) for values in times.values())
    row = {
        "net": name,
        "batch": shape[0],
        "parameters": len(list(module.parameters())),
        **ways(run),
    }
    return {
        **row,
        "forward+backward ms": plain,
        "statistics ms": full,
        "ratio": full / plain,
    }


def main():
    """Compare for each net, print a table, write the record."""
    names = sys.argv[1:]
    rows = [compare(name) for name in names or NETS]
    print_table(rows)
    if not names:
        print(f"written: {write_results('coverage', rows)}")


if __name__ == "__main__":
    main()

"""Times every form of a layer's statistics on the layers of common nets, and judges the cost model
by it.

`python benchmarks/bench_forms.py` prints, for each layer, milliseconds by form, which form the
model chooses and what that loses; `--fit` prints constants of the model that fit the times best.
"""

import argparse
import statistics
import time

import numpy as np
import torch
from _common import print_table, write_results
from scipy.optimize import nnls

from skdal.gradients.rules import _conv, _cost, _geometry, _linear

REPEATS = 5
FORMS = ("gradient", "gram", "pixels")

# name: (n, c, p, kernel, stride, padding, image, groups)
CONVOLUTIONS = {
    "cnn conv1": (64, 3, 6, 5, 1, 0, 32, 1),
    "cnn conv2": (64, 6, 16, 5, 1, 0, 14, 1),
    "resnet18@32 conv1": (64, 3, 64, 7, 2, 3, 32, 1),
    "resnet18@32 layer1": (64, 64, 64, 3, 1, 1, 8, 1),
    "resnet18@32 layer2.0": (64, 64, 128, 3, 2, 1, 8, 1),
    "resnet18@32 down": (64, 64, 128, 1, 2, 0, 8, 1),
    "resnet18@32 layer2": (64, 128, 128, 3, 1, 1, 4, 1),
    "resnet18@32 layer3": (64, 256, 256, 3, 1, 1, 2, 1),
    "resnet18@32 layer4": (64, 512, 512, 3, 1, 1, 1, 1),
    "vgg11@32 conv1": (64, 3, 64, 3, 1, 1, 32, 1),
    "vgg11@32 conv2": (64, 64, 128, 3, 1, 1, 16, 1),
    "vgg11@32 conv3": (64, 128, 256, 3, 1, 1, 8, 1),
    "vgg11@32 conv5": (64, 256, 512, 3, 1, 1, 4, 1),
    "vgg11@32 conv7": (64, 512, 512, 3, 1, 1, 2, 1),
    "resnet18@224 conv1": (16, 3, 64, 7, 2, 3, 224, 1),
    "resnet18@224 layer1": (16, 64, 64, 3, 1, 1, 56, 1),
    "resnet18@224 layer2": (16, 128, 128, 3, 1, 1, 28, 1),
    "resnet18@224 down": (16, 64, 128, 1, 2, 0, 56, 1),
    "resnet18@224 layer3": (16, 256, 256, 3, 1, 1, 14, 1),
    "resnet18@224 layer4": (16, 512, 512, 3, 1, 1, 7, 1),
    "vit patches": (64, 3, 128, 4, 4, 0, 32, 1),
    "mobilenet pointwise": (64, 64, 128, 1, 1, 0, 8, 1),
    "mobilenet depthwise": (64, 64, 64, 3, 1, 1, 8, 64),
    "convnext depthwise": (16, 96, 96, 7, 1, 3, 8, 96),
}
# name: (n, positions, inputs, outputs)
LINEARS = {
    "vit qkv": (64, 65, 128, 384),
    "vit mlp": (64, 65, 128, 256),
    "vit-b qkv": (8, 197, 768, 2304),
    "bert short": (64, 16, 256, 256),
    "few positions": (64, 4, 512, 512),
    "many positions": (16, 1024, 64, 64),
}


def convolution_case(shape):
    """Return (run by form, costs) of a convolution."""
    n, c, p, k, stride, padding, size, groups = shape
    geometry = _geometry.Geometry(
        (k, k), (stride, stride), (1, 1), (padding, padding), groups
    )
    x, v = torch.randn(n, c, size, size), torch.randn(p, c // groups, k, k)
    out = (size + 2 * padding - k) // stride + 1
    y = torch.randn(n, p, out, out)
    runs = {
        form: lambda form=form: _conv.in_form(form, geometry, [x], [y], v)
        for form in FORMS
    }
    return runs, _conv.costs(geometry, [x], [y], True)


def linear_case(shape):
    """Return (run by form, costs) of a linear layer on sequences."""
    n, t, d, p = shape
    a, b, v = torch.randn(n, t, d), torch.randn(n, t, p), torch.randn(p, d)
    runs = {
        form: lambda form=form: _linear.in_form(form, a, b, v)
        for form in ("gradient", "gram")
    }
    return runs, _cost.dense_costs(t, d, p, True)


def seconds(runs, costs):
    """Return median seconds by form, in turns; forms that promise to be hopeless are left out."""
    least = min(cost.total for cost in costs.values())
    runs = {form: run for form, run in runs.items() if costs[form].total < 30 * least}
    times = {form: [] for form in runs}
    for repeat in range(REPEATS + 1):
        for form, run in runs.items():
            start = time.perf_counter()
            run()
            if repeat:
                times[form].append(time.perf_counter() - start)
    return {form: statistics.median(values) for form, values in times.items()}


def main():
    """Time, print, write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fit", action="store_true")
    args = parser.parse_args()
    rows, features, times = [], [], []
    cases = {name: convolution_case(shape) for name, shape in CONVOLUTIONS.items()}
    cases |= {name: linear_case(shape) for name, shape in LINEARS.items()}
    for name, (runs, costs) in cases.items():
        found = seconds(runs, costs)
        chosen = _cost.cheapest(costs)
        n = {**CONVOLUTIONS, **LINEARS}[name][0]
        row = {"layer": name} | {
            f"{form} ms": 1e3 * found[form] if form in found else None for form in FORMS
        }
        rows.append(
            row
            | {
                "chosen": chosen,
                "best": min(found, key=found.get),
                "loss": found[chosen] / min(found.values()),
            }
        )
        for form, value in found.items():
            features.append([n * part for part in costs[form]])
            times.append(value)
    print_table(rows)
    if args.fit:
        weights = 1 / np.array(times)
        constants, _ = nnls(np.array(features) * weights[:, None], np.ones(len(times)))
        print("nanoseconds:", dict(zip(_cost.Cost._fields, (1e9 * constants).round(4))))
        print(
            "relative:",
            dict(zip(_cost.Cost._fields, (constants / constants[0]).round(2))),
        )
    else:
        print(f"written: {write_results('forms', rows)}")


if __name__ == "__main__":
    main()

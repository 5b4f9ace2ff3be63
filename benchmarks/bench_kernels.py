"""What tangent kernels cost.

Infinitely wide: the convolutional kernel of the verification experiments (three hidden layers,
global average pooling) on random images of 8, 16 and 32 pixels a side, in both precisions, timed on
a block of pairs large enough for a few seconds, in turns, three times; the seconds of 750 x 750
symmetric images follow, and at 16 pixels in float64 (on CUDA also at 32, in both precisions) are
measured once in full. Dense: 5,000 x 5,000 in full. As they are: nets' kernels ("full", 10 outputs)
on random images beside the contraction of whole Jacobians by torch.func, in turns. Recorded in
results/kernels.json, or kernels-cuda.json.

`python benchmarks/bench_kernels.py --quick` leaves out the full kernels and writes nothing;
`--device cuda`: on a GPU.
"""

import argparse
import statistics
import time

import torch
from _common import make_net, print_table, write_results
from torch.func import functional_call, jacrev, vmap

from skdal.dynamics import _gram, empirical_ntk, infinite_ntk

REPEATS = 3
CONV = {"kind": "conv", "depth": 3}
N_PAIRS = {  # even numbers of whole tiles
    "cpu": {8: (300, 300), 16: (78, 78), 32: (40, 40)},
    "cuda": {8: (750, 750), 16: (750, 750), 32: (128, 128)},
}
IN_FULL = {
    "cpu": [(16, "float64")],
    "cuda": [(16, "float64"), (32, "float64"), (32, "float32")],
}


def seconds(call, *args):
    """Return how long a call took; what it returns is on the CPU, so it has come to its end on a
    GPU, too.
    """
    start = time.perf_counter()
    call(*args)
    return time.perf_counter() - start


def images(n, pixels):
    return torch.randn(
        n, 3, pixels, pixels, generator=torch.Generator().manual_seed(pixels)
    )


def infinite_rows(device):
    """Return seconds a pair of the convolutional kernel, by size of the images and precision."""
    found = {}
    infinite_ntk(images(8, 8), device=device, **CONV)  # what is loaded once
    for _ in range(REPEATS):
        for pixels, (n_1, n_2) in N_PAIRS[device].items():
            X = images(n_1 + n_2, pixels)
            for dtype in ("float64", "float32"):
                how = {"dtype": dtype, "device": device, **CONV}
                once = seconds(
                    lambda X=X, n=n_1, how=how: infinite_ntk(X[:n], X[n:], **how)
                )
                found.setdefault((pixels, dtype), []).append(once / (n_1 * n_2))
    n_symmetric = 750 * 751 // 2
    return [
        {
            "pixels": pixels,
            "dtype": dtype,
            "milliseconds a pair": 1000 * statistics.median(values),
            "spread": [1000 * min(values), 1000 * max(values)],
            "minutes of 750 x 750": statistics.median(values) * n_symmetric / 60,
        }
        for (pixels, dtype), values in found.items()
    ]


def whole_kernels(device):
    """Return seconds of the kernels that are worked in full."""
    found = {}
    for pixels, dtype in IN_FULL[device]:
        X = images(750, pixels)
        once = seconds(
            lambda X=X, d=dtype: infinite_ntk(
                X, verbose=1, device=device, dtype=d, **CONV
            )
        )
        found[f"conv 750 x 750, {pixels} pixels, {dtype}"] = once
    flat = torch.randn(5000, 3072, generator=torch.Generator().manual_seed(1))
    dense = [
        seconds(lambda: infinite_ntk(flat, depth=3, device=device))
        for _ in range(REPEATS)
    ]
    return found | {"dense 5000 x 5000, depth 3, float64": statistics.median(dense)}


def by_whole_jacobians(net, X):
    """Return the kernel (n, K, n, K) by torch.func: every Jacobian, all parameters, then one
    contraction.
    """
    module = net.module_.eval()
    parameters = {name: p.detach() for name, p in module.named_parameters()}

    def outputs(values, x):
        return functional_call(module, values, (x[None],))[0]

    jacobians = vmap(jacrev(outputs), (None, 0))(parameters, X)
    J = torch.cat([j.flatten(2) for j in jacobians.values()], dim=2)
    return torch.einsum("iap,jbp->iajb", J, J).cpu()


def empirical_rows(device):
    """Return medians of seconds of nets' kernels, ours and by whole Jacobians, and by products
    alone.
    """
    rows = []
    for name, n in (("cnn", 100), ("resnet18", 8)):
        net, X = make_net(name, device), images(n, 32).to(device)
        ours, theirs, products = [], [], []
        empirical_ntk(net, X[:2])
        for _ in range(REPEATS):
            ours.append(seconds(empirical_ntk, net, X))
            theirs.append(seconds(by_whole_jacobians, net, X))
            limit, _gram._ENTRIES_A_SAMPLE = _gram._ENTRIES_A_SAMPLE, 0
            try:
                products.append(seconds(empirical_ntk, net, X))
            finally:
                _gram._ENTRIES_A_SAMPLE = limit
        rows.append(
            {
                "net": name,
                "images": n,
                "seconds": statistics.median(ours),
                "whole Jacobians": statistics.median(theirs),
                "products": statistics.median(products),
            }
        )
    return rows


def main():
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    args = parser.parse_args()
    infinite, empirical = infinite_rows(args.device), empirical_rows(args.device)
    print_table(infinite)
    print_table(empirical)
    if not args.quick:
        results = {
            "infinite": infinite,
            "whole": whole_kernels(args.device),
            "empirical": empirical,
        }
        print(results["whole"])
        write_results("kernels" if args.device == "cpu" else "kernels-cuda", results)


if __name__ == "__main__":
    main()

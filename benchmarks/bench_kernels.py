"""What tangent kernels cost.

Infinitely wide: the convolutional kernel of the verification experiments (three hidden layers, global average pooling)
on random images of 8, 16 and 32 pixels a side, in both precisions, timed on a block of pairs large enough for a few
seconds, in turns, three times; the seconds of 750 x 750 symmetric images follow, and at 16 pixels in float64 are
measured once in full. Dense: 5,000 x 5,000 in full. As they are: nets' kernels ("full", 10 outputs) on 100 random
images beside the contraction of whole Jacobians by torch.func, in turns. Recorded in results/kernels.json.

`python benchmarks/bench_kernels.py quick` leaves out the full kernel and writes nothing.
"""

import statistics
import sys
import time

import torch
from _common import make_net, print_table, write_results
from torch.func import functional_call, jacrev, vmap

from skdal.dynamics import _gram, empirical_ntk, infinite_ntk

REPEATS = 3
CONV = {"kind": "conv", "depth": 3}
N_PAIRS = {8: (300, 300), 16: (78, 78), 32: (40, 40)}  # even numbers of whole tiles


def seconds(call, *args):
    start = time.perf_counter()
    call(*args)
    return time.perf_counter() - start


def infinite_rows():
    """Return seconds a pair of the convolutional kernel, by size of the images and precision."""
    found = {}
    for _ in range(REPEATS):
        for pixels, (n_1, n_2) in N_PAIRS.items():
            X = torch.randn(n_1 + n_2, 3, pixels, pixels, generator=torch.Generator().manual_seed(pixels))
            for dtype in ("float64", "float32"):
                once = seconds(lambda X=X, n=n_1, d=dtype: infinite_ntk(X[:n], X[n:], dtype=d, **CONV))
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


def whole_kernels():
    """Return seconds of the two kernels that are worked in full."""
    X = torch.randn(750, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    conv = seconds(lambda: infinite_ntk(X, verbose=1, **CONV))
    flat = torch.randn(5000, 3072, generator=torch.Generator().manual_seed(1))
    dense = [seconds(lambda: infinite_ntk(flat, depth=3)) for _ in range(REPEATS)]
    return {"conv 750 x 750, 16 pixels, float64": conv, "dense 5000 x 5000, depth 3, float64": statistics.median(dense)}


def by_whole_jacobians(net, X):
    """Return the kernel (n, K, n, K) by torch.func: every Jacobian, all parameters, then one contraction."""
    module = net.module_.eval()
    parameters = {name: p.detach() for name, p in module.named_parameters()}
    outputs = lambda values, x: functional_call(module, values, (x[None],))[0]
    jacobians = vmap(jacrev(outputs), (None, 0))(parameters, X)
    J = torch.cat([j.flatten(2) for j in jacobians.values()], dim=2)
    return torch.einsum("iap,jbp->iajb", J, J)


def empirical_rows():
    """Return medians of seconds of nets' kernels, ours and by whole Jacobians, and by products alone."""
    rows = []
    for name, n in (("cnn", 100), ("resnet18", 8)):
        net, X = make_net(name), torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        ours, theirs, products = [], [], []
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
    is_quick = sys.argv[1:] == ["quick"]
    infinite, empirical = infinite_rows(), empirical_rows()
    print_table(infinite)
    print_table(empirical)
    if not is_quick:
        results = {"infinite": infinite, "whole": whole_kernels(), "empirical": empirical}
        print(results["whole"])
        write_results("kernels", results)


if __name__ == "__main__":
    main()

"""What per-sample statistics cost, as a multiple of a forward and backward pass of the same images.

All are timed in turns, five times each, and medians are compared. The statistics come with the
checks of a query (proof of coverage, self-check), once however large the pool; so the ratio of
the second half of the images alone is given, too. Numbers are recorded in results/speed.json, not
judged.
"""

import statistics
import time

import torch
from _common import Images, make_net, print_table, write_results

from skdal.gradients import gradient_statistics, labeled_gradient

REPEATS = 5
N_IMAGES = {"cnn": 2048, "resnet18": 256, "vgg11": 128}
BATCH_SIZE = 64  # skdal's own choice for images of 32x32 pixels


def forward_backward(module, X, y):
    """Run what training would, without the optimizer's step: the gradient of each mini-batch."""
    for inputs, labels in zip(X.split(BATCH_SIZE), y.split(BATCH_SIZE)):
        module.zero_grad()
        torch.nn.functional.cross_entropy(module(inputs), labels).backward()


def compare(name):
    """Return one row: median seconds, and their ratios."""
    images = Images(N_IMAGES[name], seed=0)
    X, y = torch.stack([x for x, _ in images]), torch.as_tensor(images.labels)
    net = make_net(name)
    module = net.module_.eval()
    direction = labeled_gradient(net, X, y)
    tasks = {
        "forward+backward s": lambda: forward_backward(module, X, y),
        "statistics s": lambda: gradient_statistics(net, X, direction=direction, batch_size=BATCH_SIZE),
        "of half s": lambda: gradient_statistics(net, X[: len(X) // 2], direction=direction, batch_size=BATCH_SIZE),
    }
    times = {task: [] for task in tasks}
    for repeat in range(REPEATS + 1):
        for task, run in tasks.items():
            start = time.perf_counter()
            run()
            if repeat:  # the first turn warms up
                times[task].append(time.perf_counter() - start)
    medians = {task: statistics.median(values) for task, values in times.items()}
    plain, full, half = medians.values()
    return {
        "net": name,
        "images": len(X),
        **medians,
        "ratio": full / plain,
        "ratio of 2nd half": (full - half) / (plain / 2),
    }


def main():
    """Compare for each net, print a table, write the record."""
    rows = [compare(name) for name in N_IMAGES]
    print_table(rows)
    print(f"written: {write_results('speed', rows)}")


if __name__ == "__main__":
    main()

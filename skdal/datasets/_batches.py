"""Mini-batches of images, made ahead."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch


class Batches:
    """A loader of `Images` that makes the next mini-batch in a thread while the last one is worked
    on.

    It stands in for a DataLoader, as in `NeuralNetClassifier(..., iterator_train=Batches)`, at a
    fifth of the cost: images become numbers one mini-batch at a time.

    Parameters
    ----------
    dataset : Images
        A random `augment` draws from torch's global generator in that thread, so its numbers are
        not repeatable where the net draws as well.
    batch_size : int
    shuffle : bool, default=False
        For training: the order is drawn from torch's global generator at the start of an epoch, and
        a last sample that would be alone joins the mini-batch before it, since batch normalization
        cannot train on one.
    """

    def __init__(self, dataset: Any, batch_size: int, shuffle: bool = False) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle

    def __len__(self):
        n, rest = divmod(len(self.dataset), self.batch_size)
        return n + (rest > 1 or rest == 1 and not (self.shuffle and n))

    def __iter__(self):
        n = len(self.dataset)
        order = torch.randperm(n) if self.shuffle else torch.arange(n)
        parts = [
            order[i : i + self.batch_size].numpy() for i in range(0, n, self.batch_size)
        ]
        if self.shuffle and len(parts) > 1 and len(parts[-1]) == 1:
            parts[-2:] = [np.concatenate(parts[-2:])]
        n_threads = torch.get_num_threads()  # a new thread would take all cores
        with ThreadPoolExecutor(
            1, initializer=torch.set_num_threads, initargs=(n_threads,)
        ) as thread:
            current = None
            for part in parts:
                following = thread.submit(self.dataset.batch, part)
                if current is not None:
                    yield current.result()
                current = following
            if current is not None:
                yield current.result()

"""Queries in processes of their own, which lose what only a process can lose.

`python losses.py node OUT`: of two machines, Ray nodes with loopback addresses of their own, one is
lost. Writes what came of it to OUT/found.json. `python losses.py driver OUT N`: the N-th row to be
read kills the process that asks.
"""

import contextlib
import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import ray
import torch
from cluster import CLUSTER
from common import POOL, X, trained_net, y
from helpers_parallel import Rows, fitted
from ray.cluster_utils import Cluster

from skdal import DynamicALSampler
from skdal.parallel import RayExecutor

MANY = np.concatenate([POOL] * 10)
N_PICKS = 20


class OnTwoMachines(Rows):
    """Rows that take a while, and leave a mark where the machine is called "second"."""

    def __init__(self, rows, mark):
        super().__init__(rows)
        self.mark = mark

    def __getitem__(self, i):
        if os.environ.get("MACHINE") == "second":
            self.mark.touch()
        time.sleep(0.01)
        return super().__getitem__(i)


def lose_node(out):
    """Query, lose the second machine, ask again."""
    machine = {
        "num_cpus": 1,
        "object_store_memory": CLUSTER["object_store_memory"],
        "include_dashboard": False,
    }
    with contextlib.redirect_stdout(sys.stderr):
        cluster = Cluster(
            initialize_head=True,
            head_node_args={**machine, "node_ip_address": "127.0.0.2"},
        )
        os.environ["MACHINE"] = "second"
        second = cluster.add_node(**machine, node_ip_address="127.0.0.3")
        del os.environ["MACHINE"]
    ray.init(
        address=cluster.address,
        _node_ip_address="127.0.0.2",
        log_to_driver=False,
        configure_logging=False,
    )
    messages = said()
    with RayExecutor(num_workers=2, shard_size=8) as executor:
        sampler = fitted(
            DynamicALSampler(batch_size=8, executor=executor), trained_net(), X, y
        )
        while len(executor.worker_pids()) < 2:
            sampler.query(POOL, 3)
            time.sleep(0.2)
        loser = threading.Thread(target=lose, args=(cluster, second, out / "mark"))
        loser.start()
        found = sampler.query(
            OnTwoMachines(MANY, out / "mark"), N_PICKS, return_scores=True
        )
        loser.join()
        end = time.monotonic() + 60
        while (
            sum(node["Alive"] for node in ray.nodes()) == 2 and time.monotonic() < end
        ):
            time.sleep(0.1)
        result = {
            "picks": found[0].tolist(),
            "scores": found[1].tolist(),
            "alive": sum(node["Alive"] for node in ray.nodes()),
            "messages": list(messages),
            "again": sampler.query(MANY, N_PICKS).tolist(),
        }
    (out / "found.json").write_text(json.dumps(result))
    ray.shutdown()
    cluster.shutdown()


def said():
    """Return a list that grows by what skdal logs."""
    messages, handler = [], logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("skdal").addHandler(handler)
    return messages


def lose(cluster, node, mark):
    """Kill all processes of a node once it works on the query."""
    while not mark.exists():
        time.sleep(0.01)
    cluster.remove_node(node, allow_graceful=False)


class KillingTheDriver(Rows):
    """Rows of which the one at `at` ends the process that asked for the query, and one without `at`
    does not."""

    def __init__(self, rows, at):
        super().__init__(rows)
        self.at, self.driver = at, os.getpid()

    def __getitem__(self, i):
        if i == self.at and os.getpid() != self.driver:
            os.kill(self.driver, signal.SIGKILL)
        return super().__getitem__(i)

    def fingerprint(self):
        return "the pool"


def query_on_ray(out, at):
    """Query with scores kept in a folder; the picks go to OUT/found.json."""
    ray.init(**CLUSTER)
    with RayExecutor(
        num_workers=1, shard_size=8, scores_dir=out / "scores"
    ) as executor:
        sampler = fitted(
            DynamicALSampler(batch_size=8, executor=executor), trained_net(), X, y
        )
        found = sampler.query(KillingTheDriver(MANY, at), N_PICKS, return_scores=True)
    (out / "found.json").write_text(
        json.dumps({"picks": found[0].tolist(), "scores": found[1].tolist()})
    )
    ray.shutdown()


if __name__ == "__main__":
    torch.set_num_threads(1)
    what, folder, *at = sys.argv[1:]
    lose_node(Path(folder)) if what == "node" else query_on_ray(
        Path(folder), int(at[0])
    )

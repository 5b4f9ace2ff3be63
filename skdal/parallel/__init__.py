"""Executors: where the shards of a pool are worked on. Serial here, Ray for more cores, GPUs and
machines.
"""

from skdal.parallel._dispatch import Dispatch as Dispatch
from skdal.parallel._executor import Executor, SerialExecutor
from skdal.parallel._ray import RayExecutor

__all__ = ["Executor", "RayExecutor", "SerialExecutor"]

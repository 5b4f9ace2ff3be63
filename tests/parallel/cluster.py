"""How Ray is started on this machine: a small object store, no dashboard, loopback only."""

import os

# Nothing is reported to anyone, and workers log into their own files.
os.environ.update(
    RAY_USAGE_STATS_ENABLED="0",
    RAY_AUTH_MODE="disabled",
    RAY_TQDM_PATCH_PRINT="0",
    RAY_worker_niceness="0",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
)

CLUSTER = {
    "address": "local",
    "num_cpus": 6,  # as Ray counts them: workers of several executors are there at a time
    "num_gpus": 0,
    "object_store_memory": 128 * 2**20,
    "include_dashboard": False,
    "log_to_driver": False,
    "configure_logging": False,
    "_node_ip_address": "127.0.0.1",
}

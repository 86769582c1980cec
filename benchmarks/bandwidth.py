"""How fast this machine moves memory, measured in the same run: the floor under every figure."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.tables import figure, show

_BYTES = 256 * 2**20
_ROUNDS = 5


def copy_bytes_per_s(threads: int) -> float:
    """Copy a large array with so many threads, each its part; bytes read plus bytes written a second, best of five."""
    source = np.ones(_BYTES // 8, np.int64)
    target = np.zeros_like(source)
    parts = list(zip(np.array_split(source, threads), np.array_split(target, threads), strict=True))
    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(_ROUNDS):
            begin = time.perf_counter()
            list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), parts))
            best = min(best, time.perf_counter() - begin)
    return 2 * _BYTES / best


def main() -> None:
    """Print the bandwidth with one thread and with one for each core."""
    cores = os.cpu_count() or 1
    rows = [[str(threads), figure(copy_bytes_per_s(threads)) + "B/s"] for threads in dict.fromkeys((1, 2, cores))]
    show("Memory bandwidth (numpy copy of 256 MiB, bytes read and written)", ["threads", "bandwidth"], rows)


if __name__ == "__main__":
    main()

"""Run every benchmark, one after another, and print what was measured: ``make bench``."""

from __future__ import annotations

import importlib
import os
import platform
import sys

import numpy as np

import tightrope

_BENCHMARKS = (
    "bandwidth",
    "engine",
    "peers",
    "accuracy",
    "cold_start",
    "receivers",
    "live",
    "loop",
    "store",
    "gate",
    "runs",
    "page",
    "canary",
)


def main(names: list[str]) -> int:
    """Run the named benchmarks, all of them without a name; 2 if there is no such benchmark."""
    unknown = [name for name in names if name not in _BENCHMARKS]
    if unknown:
        print(f"bench: there is no benchmark {unknown[0]!r}; choose from {', '.join(_BENCHMARKS)}", file=sys.stderr)
        return 2
    print(
        f"Tightrope {tightrope.__version__}, Python {platform.python_version()}, NumPy {np.__version__}, "
        f"{platform.machine()} with {os.cpu_count()} cores"
    )
    for name in names or _BENCHMARKS:
        importlib.import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The only place that reads the environment."""

from __future__ import annotations

import os


def environment(name: str, default: str = "") -> str:
    """Tell the value of one environment variable; *default* where it is not set."""
    return os.environ.get(name, default)

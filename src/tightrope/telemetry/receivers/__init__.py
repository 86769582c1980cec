"""What others send to us: one file for each protocol, all of one shape; they read bodies, and store nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from tightrope.telemetry.samples import Checked, Delivery


class Receiver(Protocol):
    """Reads the bodies of one protocol. Safe to use from several threads."""

    kind: str

    def check(self, body: bytes, headers: Mapping[str, str], now: int) -> Checked:
        """Read a body as it came over the wire.

        Args:
            body: As sent, still compressed.
            headers: Of the request, names in any case.
            now: UTC epoch seconds.

        Raises:
            UsageError: It can't be read, and sending it again would not help. TooLargeError: It unpacks to too much.
        """
        ...

    def read(self, kept: bytes) -> Delivery:
        """Read once more what `check` handed out as ``kept``."""
        ...

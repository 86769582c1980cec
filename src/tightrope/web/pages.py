"""Templates and assets: as they lie in the package, and as a server hands them out."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates: everything is escaped, and a name that is not given is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("tightrope.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@lru_cache(maxsize=16)
def asset(name: str) -> str:
    """The text of an asset."""
    return files("tightrope.web").joinpath("assets", name).read_text(encoding="utf-8").strip()


# --- what a server hands out -----------------------------------------------------------------------------------------

_BUNDLES: dict[str, tuple[tuple[str, ...], str]] = {
    "tightrope.css": (("tokens.css", "page.css", "charts.css", "live.css"), "text/css; charset=utf-8"),
    "tightrope.js": (("live.js",), "text/javascript; charset=utf-8"),
    "icon.svg": (("icon.svg",), "image/svg+xml"),
}
"""What pages ask for: each name with the files that it is put together from, and its type."""


@dataclass(frozen=True, slots=True)
class Asset:
    """An asset under a name that changes with its content, so that it may be kept for ever."""

    name: str
    media_type: str
    body: bytes
    packed: bytes


@lru_cache(maxsize=1)
def assets() -> dict[str, Asset]:
    """All assets by the plain names that templates call them by."""
    found = {}
    for plain, (parts, media_type) in _BUNDLES.items():
        body = "\n".join(asset(part) for part in parts).encode()
        stem, _, ending = plain.rpartition(".")
        name = f"{stem}.{hashlib.sha256(body).hexdigest()[:12]}.{ending}"
        found[plain] = Asset(name, media_type, body, gzip.compress(body, 9, mtime=0))
    return found


def address_of(plain: str) -> str:
    """Where a page finds an asset."""
    return f"/assets/{assets()[plain].name}"

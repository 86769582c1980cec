"""Whoever sits at this machine: when a request without a token may be taken for theirs."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network


def is_loopback(address: str) -> bool:
    """Whether an address, or the name ``localhost``, is of this machine; with a port or without."""
    host = _without_port(address.strip())
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        found = ip_address(host)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return (mapped or found).is_loopback


def is_local(peer: str, host: str, forwarded: bool) -> bool:
    """Tell whether a request comes from this machine and means it.

    Args:
        peer: The address at the other end of the connection; empty for a socket file.
        host: The request's Host header. A page from elsewhere whose name was turned to 127.0.0.1
            still says its own name.
        forwarded: Whether a proxy says that it speaks for somebody else.
    """
    return not forwarded and (not peer or is_loopback(peer)) and is_loopback(host)


def neighbourhood(address: str) -> str:
    """What counts as one address where attempts are counted: of IPv6 the network of 64 bits, which one line has."""
    try:
        found = ip_address(_without_port(address.strip()))
    except ValueError:
        return address.strip()[:100] or "unknown"
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ip_network((int(found), 64), strict=False))
    return str(found)


def _without_port(address: str) -> str:
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address

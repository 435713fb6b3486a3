"""Which addresses are reached without the proxies of the environment: this machine's own, and what NO_PROXY says.

A proxy elsewhere answers for its own loopback address, so a prompt (and a key) meant for a server on this machine
would leave it. httpx and requests send loopback through HTTP_PROXY unless NO_PROXY says otherwise; what they do
themselves with NO_PROXY (names, suffixes, single addresses) is left to them, networks (10.0.0.0/8) are added here.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit


def is_loopback(address: str) -> bool:
    """Whether an http(s) address names this machine: localhost, 127.0.0.0/8, ::1, or "any address"."""
    host = (urlsplit(address).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        number = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(number, "ipv4_mapped", None) or number
    return mapped.is_loopback or mapped.is_unspecified


def is_direct(address: str, environment: Mapping[str, str]) -> bool:
    """Whether an address is reached without a proxy whatever HTTP_PROXY, HTTPS_PROXY and ALL_PROXY say."""
    if is_loopback(address):
        return True
    try:
        number = ipaddress.ip_address(urlsplit(address).hostname or "")
    except ValueError:
        return False
    listed = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    return any(_holds(entry.strip(), number) for entry in listed.split(","))


def _holds(entry: str, number: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        network = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
    return number.version == network.version and number in network


def direct_options(client: type, address: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What a client of httpx (of either generation, or an SDK's own class) is made with: a transport of its own, next
    to which it looks for no proxy, where the address is reached directly; else nothing."""
    if not is_direct(address, environment):
        return {}
    library = next(base for base in client.__mro__ if base.__name__ == "Client").__module__.partition(".")[0]
    return {"transport": sys.modules[library].HTTPTransport()}

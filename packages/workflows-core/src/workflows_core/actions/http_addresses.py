"""Which network addresses an authored request may reach: public ones, and what an installation allows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

IpNetwork = IPv4Network | IPv6Network

_REFUSED_V4: Final[Mapping[str, tuple[str, ...]]] = {
    "unspecified": ("0.0.0.0/8",),
    "loopback": ("127.0.0.0/8",),
    "link-local": ("169.254.0.0/16",),
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"),
    "metadata": ("168.63.129.16/32",),
    "multicast": ("224.0.0.0/4",),
    "reserved": (
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "240.0.0.0/4",
    ),
}
_REFUSED_V6: Final[Mapping[str, tuple[str, ...]]] = {
    "unspecified": ("::/128",),
    "loopback": ("::1/128",),
    "link-local": ("fe80::/10",),
    "private": ("fc00::/7", "fec0::/10"),
    "multicast": ("ff00::/8",),
    # Teredo and 6to4 carry an IPv4 address that the tunnel's end would reach.
    "tunnel": ("2001::/32", "2002::/16"),
    "reserved": ("2001::/23", "2001:db8::/32", "3fff::/20"),
}
_PUBLIC_V6: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")

_NETWORKS_V4 = tuple((kind, IPv4Network(text)) for kind, texts in _REFUSED_V4.items() for text in texts)
_NETWORKS_V6 = tuple((kind, IPv6Network(text)) for kind, texts in _REFUSED_V6.items() for text in texts)


def refusal(address: str, allowed: Iterable[IpNetwork] = ()) -> str | None:
    """Why an address is refused, as a kind such as `loopback`; None when it may be reached.

    An IPv6 address that stands for an IPv4 one (mapped, NAT64) is judged as that.

    Args:
        address: As a resolver gives it; a zone (`fe80::1%eth0`) is looked past.
        allowed: Networks that are reachable whatever kind they are.
    """
    try:
        found = _meant(ip_address(address.partition("%")[0]))
    except ValueError:
        return "malformed"
    if any(network.version == found.version and found in network for network in allowed):
        return None
    if isinstance(found, IPv4Address):
        return next((kind for kind, network in _NETWORKS_V4 if found in network), None)
    kind = next((kind for kind, network in _NETWORKS_V6 if found in network), None)
    return kind or (None if found in _PUBLIC_V6 else "reserved")


def parse_networks(texts: Sequence[str]) -> tuple[IpNetwork, ...]:
    """Networks as `10.1.0.0/16` or single addresses.

    Raises:
        ValueError: Naming the first text that is none.
    """
    return tuple(ip_network(text.strip()) for text in texts)


def _meant(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address

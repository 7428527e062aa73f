"""Addresses of people and machines in text: e-mail, IPv4, IPv6, MAC. Versions and repositories look alike and stay."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from kpi.ingest.masks import EMAIL, IP, MAC, Match, Span, starts

_AT_DOMAIN = re.compile(r"@(?:[^\W_][\w-]{0,62}\.){1,8}[^\W\d_]{2,24}")
_LOCAL_REVERSED = re.compile(r"[\w.%+'&=~#*!-]{1,64}")
_REPOSITORY_USERS = frozenset({"git", "hg", "svn", "ssh"})
_FILE_ENDINGS = frozenset({"png", "jpg", "jpeg", "gif", "svg", "webp", "ico"})  # icon@2x.png


def find_emails(text: str) -> Iterator[Span]:
    """Anchored at the `@` and read backwards: a pattern that begins with the local part would be quadratic."""
    done = 0
    for match in _AT_DOMAIN.finditer(text):
        at = match.start()
        backwards = _LOCAL_REVERSED.match(text[max(done, at - 64) : at][::-1])
        if backwards is None:
            continue
        start = at - backwards.end()
        if start and text[start - 1] == "\\" and text[start] in "nrtbf":
            start += 1
        local = text[start:at]
        start += len(local) - len(local.lstrip(".'&=~#*!"))
        domain = match.group()[1:]
        if start >= at or text[start:at].lower() in _REPOSITORY_USERS:
            continue
        if domain.rpartition(".")[2].lower() in _FILE_ENDINGS:
            continue
        done = match.end()
        yield start, done, EMAIL


_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = re.compile(rf"\d\d{{0,2}}(?:\.{_OCTET}){{3}}" + r"(?![\w]|\.\d|-\w)")
_IPV4_HINT = re.compile(r"\d\.\d{1,3}\.\d{1,3}\.\d")
_WORDS = re.compile(r"[^\W\d_]+")
_IP_WORDS = frozenset([
    "ip", "ips", "ipv", "address", "addresses", "addr", "host", "hosts", "hostname", "server", "client", "remote",
    "peer", "ping", "pinged", "login", "logged", "connect", "connected", "connection", "connecting", "gateway",
    "subnet", "from", "router", "proxy",
])  # fmt: skip
_VERSION_WORDS = frozenset([
    "v", "ver", "version", "versions", "release", "build", "rev", "revision", "firmware", "driver", "sdk", "api",
    "rfc", "section", "sections", "chapter", "oid", "patch", "upgrade", "upgraded", "update", "updated",
])  # fmt: skip
_IPV4_JOINED = frozenset(".-")
_IPV6_JOINED = frozenset(".")
_IPV6 = re.compile(r"[0-9A-Fa-f:]{6,}")


def _is_ipv4(match: Match) -> bool:
    """`1.2.3.4` is an address or a version: small numbers need a neighbour that says so."""
    text, start, end = match.string, match.start(), match.end()
    parts = [int(part) for part in match.group().split(".")]
    if parts[0] > 255 or not starts(text, start, _IPV4_JOINED):
        return False
    before = text[max(0, start - 32) : start]
    if before.endswith(("://", "@")) or (text[end : end + 1] in (":", "/") and text[end + 1 : end + 2].isdigit()):
        return True
    bare = before.rstrip("=~<>^/_ ")
    if before[-1:] in ("/", "_", "~", "<", ">", "^") or before.endswith("=="):
        return False
    words = [word.lower() for word in _WORDS.findall(bare)[-3:]]
    if not _IP_WORDS.isdisjoint(words):
        return True
    if words and not _VERSION_WORDS.isdisjoint(words[-2:]):
        return False
    return max(parts) >= 100


def _is_ipv6(match: Match) -> bool:
    found = match.group()
    if not 6 <= len(found) <= 39 or found.count(":") < 3 or not starts(match.string, match.start(), _IPV6_JOINED):
        return False
    after = match.string[match.end() : match.end() + 1]
    if after.isalnum() or after == "_":
        return False
    if "::" in found and len([part for part in found.split(":") if part]) < 3:
        return False  # `a::b` is a scope in several languages, `::1` the machine itself
    try:
        ipaddress.IPv6Address(found)
    except ValueError:
        return False
    return True


_MAC = re.compile(r"[0-9A-Fa-f]{2}(?:([:-])[0-9A-Fa-f]{2}(?:\1[0-9A-Fa-f]{2}){4}|[0-9A-Fa-f]{2}(?:\.[0-9A-Fa-f]{4}){2})(?![\w:.-])")
_MAC_WORDS = re.compile(
    r"\bmac\b|\bmacs\b|mac_?addr|\bether\b|ethernet|hwaddr|\bhw\b|hardware addr|physical addr|bssid|lladdr|wi-?fi|bluetooth|"
    r"\bnic\b|\bdhcp\b|\barp\b"
)


def find_ipv6(text: str) -> Iterator[Span]:
    """Addresses of the Internet Protocol, version 6."""
    colons = text.count(":")
    if colons > 1 and ("::" in text or colons > 6):
        yield from ((*match.span(), IP) for match in _IPV6.finditer(text) if _is_ipv6(match))


def find_ipv4(text: str) -> Iterator[Span]:
    """Dotted quads."""
    if text.count(".") > 2 and (hint := _IPV4_HINT.search(text)) is not None:
        yield from ((*m.span(), IP) for m in _IPV4.finditer(text, max(0, hint.start() - 3)) if _is_ipv4(m))


def find_macs(text: str, lower: str) -> Iterator[Span]:
    """Addresses of network cards, where a word beside them says what they are: span ids are written alike."""
    if _MAC_WORDS.search(lower) is None:
        return
    for match in _MAC.finditer(text):
        near = lower[max(0, match.start() - 40) : match.start()]
        if starts(text, match.start(), frozenset(":.-")) and _MAC_WORDS.search(near):
            yield *match.span(), MAC

"""Addresses of people and machines in text: e-mail, IPv4, IPv6. Versions and repositories look like them and stay."""

from __future__ import annotations

import ipaddress
import re

from kpi.privacy.patterns.masking import EMAIL, IP, Match, mask, starts

_AT_DOMAIN = re.compile(r"@(?:[^\W_][\w-]{0,62}\.){1,8}[^\W\d_]{2,24}")
_LOCAL_REVERSED = re.compile(r"[\w.%+'&=~#*!-]{1,64}")
_REPOSITORY_USERS = frozenset({"git", "hg", "svn", "ssh"})
_FILE_ENDINGS = frozenset({"png", "jpg", "jpeg", "gif", "svg", "webp", "ico"})  # icon@2x.png


def mask_emails(text: str) -> str:
    """Anchored at the `@` and read backwards: a pattern that begins with the local part would be quadratic."""
    parts: list[str] = []
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
        parts += (text[done:start], EMAIL)
        done = match.end()
    return "".join(parts) + text[done:] if parts else text


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


def _ipv4(match: Match) -> str:
    """`1.2.3.4` is an address or a version: small numbers need a neighbour that says so."""
    text, start, end = match.string, match.start(), match.end()
    found = match.group()
    parts = [int(part) for part in found.split(".")]
    if parts[0] > 255 or not starts(match, _IPV4_JOINED):
        return found
    before = text[max(0, start - 32) : start]
    if before.endswith(("://", "@")) or (text[end : end + 1] in (":", "/") and text[end + 1 : end + 2].isdigit()):
        return IP
    bare = before.rstrip("=~<>^/_ ")
    if before[-1:] in ("/", "_", "~", "<", ">", "^") or before.endswith("=="):
        return found
    words = [word.lower() for word in _WORDS.findall(bare)[-3:]]
    if not _IP_WORDS.isdisjoint(words):
        return IP
    if words and not _VERSION_WORDS.isdisjoint(words[-2:]):
        return found
    return IP if max(parts) >= 100 else found


def _ipv6(match: Match) -> str:
    found = match.group()
    if not 6 <= len(found) <= 39 or found.count(":") < 3 or not starts(match, _IPV6_JOINED):
        return found
    after = match.string[match.end() : match.end() + 1]
    if after.isalnum() or after == "_":
        return found
    if "::" in found and len([part for part in found.split(":") if part]) < 3:
        return found  # `a::b` is a scope in several languages, `::1` the machine itself
    try:
        ipaddress.IPv6Address(found)
    except ValueError:
        return found
    return IP


def mask_machines(text: str) -> str:
    """Addresses of the Internet Protocol, versions 4 and 6."""
    colons = text.count(":")
    if colons > 1 and ("::" in text or colons > 6):
        text = mask(_IPV6, _ipv6, text)
    return mask(_IPV4, _ipv4, text) if text.count(".") > 2 and _IPV4_HINT.search(text) else text

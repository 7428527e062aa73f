"""Addresses of people and machines in text: e-mail, IPv4, IPv6, MAC. Versions and repositories look alike and stay."""

import ipaddress
import re
from collections.abc import Iterator

from kpi.privacy.patterns import DATA, shapes, words
from kpi.privacy.patterns.masking import EMAIL, IP, MAC, Match, Span, ends, starts

_RE = shapes("email_and_ip")
_REPOSITORY_USERS = words("email_and_ip", "repository_users")
_FILE_ENDINGS = words("email_and_ip", "file_endings")  # icon@2x.png
_IP_WORDS = words("email_and_ip", "ip_words")
_VERSION_WORDS = words("email_and_ip", "version_words")
_IPV4_JOINED = frozenset(".-")
_IPV6_JOINED = frozenset(".")
_MAC_WORDS = re.compile("|".join(DATA["email_and_ip"]["mac_words"]))
_MAC_JOINED = frozenset(":.-")


def find_emails(text: str) -> Iterator[Span]:
    """Anchored at the `@` and read backwards: a pattern that begins with the local part would be quadratic."""
    done = 0
    for match in _RE.at_domain.finditer(text):
        at = match.start()
        backwards = _RE.local_reversed.match(text[max(done, at - 64) : at][::-1])
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
    near = [word.lower() for word in _RE.words.findall(bare)[-3:]]
    if not _IP_WORDS.isdisjoint(near):
        return True
    if near and not _VERSION_WORDS.isdisjoint(near[-2:]):
        return False
    return max(parts) >= 100


def _is_ipv6(text: str, start: int, end: int) -> bool:
    found = text[start:end]
    if not 6 <= len(found) <= 39 or found.count(":") < 3 or not starts(text, start, _IPV6_JOINED):
        return False
    if not ends(text, end, ""):
        return False
    if "::" in found and len([part for part in found.split(":") if part]) < 3:
        return False  # `a::b` is a scope in several languages, `::1` the machine itself
    try:
        ipaddress.IPv6Address(found)
    except ValueError:
        return False
    return True


def ipv4_in(text: str, start: int, end: int) -> list[Span]:
    """Dotted quads among numbers that stand close together."""
    return [(*match.span(), IP) for match in _RE.ipv4.finditer(text, start, end) if _is_ipv4(match)]


def has_colons(text: str) -> bool:
    """Whether two colons stand as in an address."""
    return _RE.colons.search(text) is not None


def find_colons(text: str, lower: str) -> Iterator[Span]:
    """What is written with colons: IPv6, and addresses of network cards beside a word for them."""
    done = 0
    for match in _RE.colons.finditer(text):
        at = match.start()
        if at < done:
            continue
        before = _RE.hex_reversed.match(text[max(done, at - 40) : at][::-1])
        after = _RE.hex.match(text, at)
        start, done = at - (before.end() if before else 0), after.end() if after else at
        if _is_ipv6(text, start, done):
            yield start, done, IP
        elif done - start == 17 and _RE.mac.fullmatch(text, start, done) and _is_mac(text, lower, start):
            yield start, done, MAC


def find_hyphened(text: str, lower: str) -> list[Span]:
    """Addresses of network cards with hyphens or dots."""
    found: list[Span] = []
    for inner, before in ((_RE.hyphens, 2), (_RE.dots, 4)):
        for match in inner.finditer(text):
            start = match.start() - before
            card = _RE.mac.match(text, start) if start >= 0 else None
            if card is not None and ends(text, card.end()) and _is_mac(text, lower, start):
                found.append((*card.span(), MAC))
    return sorted(found)


def _is_mac(text: str, lower: str, start: int) -> bool:
    """A word beside it says what it is: span ids are written alike."""
    return starts(text, start, _MAC_JOINED) and _MAC_WORDS.search(lower[max(0, start - 40) : start]) is not None

"""Numbers of accounts in text: payment cards of all networks, and IBAN. Their check digits must be right."""

import re

from kpi.privacy.patterns import DATA, shapes, words
from kpi.privacy.patterns.masking import BLANK, CARD, IBAN, Match, Span, Words, ends, is_word, starts

_RE = shapes("payment_numbers")
# Groups as printed on cards, with any separator, a line break among them; a bare run of 12 to 19 digits.
_GAP = r"(?: ?[-.\u00b7] ?| {1,2}| ?(?:\\r)?(?:\\n|\r?\n) ?)"
_GROUPED = re.compile(
    rf"[0-9](?<![0-9][0-9])[0-9]{{3}}(?:{_GAP}[0-9]{{4}}{_GAP}[0-9]{{4}}(?:{_GAP}[0-9]{{1,4}}(?:{_GAP}[0-9]{{1,3}})?)?"
    rf"|{_GAP}[0-9]{{6}}{_GAP}[0-9]{{4,5}}|{_GAP}[0-9]{{4,5}}{_GAP}[0-9]{{5,6}}"
    rf"|[0-9]{{2}}{_GAP}[0-9]{{6,13}}|[0-9]{{4}}{_GAP}[0-9]{{4,11}}|{_GAP}[0-9]{{8}}(?:{_GAP}[0-9]{{4}})?"
    rf"|[0-9]{{8}}{_GAP}[0-9]{{4,7}}|{_GAP}[0-9]{{12}})"
)
_WORDS = Words(DATA["payment_numbers"]["words"])
_DOUBLED = bytes((48 + sum(divmod(2 * (code - 48), 10))) if 48 <= code < 58 else 48 for code in range(256))

_NETWORKS = re.compile("|".join(DATA["payment_numbers"]["networks"]))
_IBAN_GAPS = " .-"
_NO_GAPS = str.maketrans("", "", _IBAN_GAPS)
_IBAN_LENGTHS = {pair[:2]: int(pair[2:]) for pair in words("payment_numbers", "iban")}
_HYPHEN = frozenset("-")
_IBAN_REST = 44  # characters that may follow the check digits


def luhn(digits: str) -> bool:
    """Whether the check digit of a payment card number is right (ISO/IEC 7812-1, annex B)."""
    row = digits.encode()
    return (sum(row[-1::-2]) + sum(row[-2::-2].translate(_DOUBLED)) - 48 * len(row)) % 10 == 0


def cards_in(text: str, lower: str, start: int, end: int) -> list[Span]:
    """Payment cards among numbers that stand close together."""
    found: list[Span] = []
    if not text[start:end].isdigit():
        found = [span for match in _GROUPED.finditer(text, start, end) if (span := _grouped(match, lower)) is not None]
    return found + [(*match.span(), CARD) for match in _RE.plain.finditer(text, start, end) if _is_plain(match, lower)]


def _grouped(match: Match, lower: str) -> Span | None:
    text, (start, end) = match.string, match.span()
    if not starts(text, start) or _RE.decimal.fullmatch(text, start, end):
        return None
    groups = [m.span() for m in _RE.digits.finditer(text, start, end)]
    for count in range(len(groups), 1, -1):  # a card may be followed by its security code, in like groups
        last = groups[count - 1][1]
        digits = "".join(text[a:b] for a, b in groups[:count])
        if 12 <= len(digits) <= 19 and ends(text, last) and _NETWORKS.fullmatch(digits) and luhn(digits):
            return (
                (start, last, CARD) if _stands_alone(text, start, last) or _near_card_word(lower, start, last) else None
            )
    return None


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Not a part of a row of numbers."""
    if _RE.row_before.search(text, max(0, start - 3), start):
        return False
    return _RE.row_after.match(text, end) is None or _RE.expiry.match(text, end) is not None


def _is_plain(match: Match, lower: str) -> bool:
    """A bare run of digits is a card only near a word of payment: one random 16-digit id in forty passes Luhn."""
    text, digits = match.string, match.group()
    if not (luhn(digits) and starts(text, match.start(), frozenset()) and ends(text, match.end(), ".")):
        return False
    if _NETWORKS.fullmatch(digits):
        return _near_card_word(lower, *match.span())
    return _RE.named.search(lower, max(0, match.start() - 100), match.end() + 60) is not None


def _near_card_word(lower: str, start: int, end: int) -> bool:
    near = lower[max(0, start - 100) : start] + BLANK + lower[end : end + 60]
    return _WORDS.stand_in(near) or _RE.short_words.search(near) is not None


def _iban(match: Match) -> Span | None:
    """Exactly the length that the country prescribes, where its check digits (mod 97) are right."""
    found = match.group()
    length = _IBAN_LENGTHS.get(found[:2].upper())
    if length is None or not starts(match.string, match.start(), _HYPHEN):
        return None
    end = seen = 0
    while end < len(found) and seen < length:
        seen += found[end] not in _IBAN_GAPS
        end += 1
    if seen != length or (end < len(found) and found[end] not in _IBAN_GAPS):
        return None
    if end == len(found) and match.end() < len(match.string) and is_word(match.string[match.end()]):
        return None
    account = found[:end].translate(_NO_GAPS).upper()
    number = "".join(str(int(c, 36)) for c in account[4:] + account[:4])
    return (match.start(), match.start() + end, IBAN) if int(number) % 97 == 1 else None


def ibans_in(text: str, start: int, end: int) -> list[Span]:
    """Account numbers of banks whose two letters stand at `start` or later, their check digits before `end`."""
    found = []
    while start < end and (match := _RE.iban.search(text, start, end + _IBAN_REST)) is not None:
        span = _iban(match)
        if span is not None:
            found.append(span)
        start = match.end() if span is None else span[1]
    return found

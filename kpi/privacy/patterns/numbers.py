"""Runs of digits in text, each looked at once: a national identifier, a phone number, or something technical."""

import re
from collections.abc import Iterator

from kpi.privacy.patterns import DATA, shapes
from kpi.privacy.patterns.email_and_ip import ipv4_in
from kpi.privacy.patterns.masking import NATIONAL_ID, PASSPORT, PHONE, SSN, Span, ends, is_word, starts
from kpi.privacy.patterns.national_ids import WEAK, identity_in, lettered_in
from kpi.privacy.patterns.payment_numbers import cards_in, ibans_in
from kpi.privacy.patterns.phone_numbers import is_date, is_short, is_vague, telling, with_extension
from kpi.privacy.patterns.words_nearby import A_PASSPORT, A_PHONE, AN_SSN, IDENTITY, TECHNICAL, kind_before, phone_after

_RE = shapes("numbers")
_TOKENS = {IDENTITY: NATIONAL_ID, AN_SSN: SSN, A_PASSPORT: PASSPORT, A_PHONE: PHONE}
_LENGTHS = {IDENTITY: range(6, 19), AN_SSN: range(9, 10), A_PASSPORT: range(6, 13), A_PHONE: range(7, 16)}
_UNIT_AFTER = re.compile(f" ?(?:{'|'.join(DATA['numbers']['units'])})")


Neighbourhood = tuple[str, int, int]  # text around a number, where the number begins in it, its length
_REACH = 104  # characters before and after a number that are looked at


def find_numbers(text: str, lower: str, seen: set[Neighbourhood] | None) -> list[Span]:
    """Accounts, addresses of machines, national identifiers and phones: all that holds digits close together.

    `seen` holds neighbourhoods in which nothing is to be found; the next pass over a long text asks it first.
    """
    found: list[Span] = []
    for cluster in _RE.cluster.finditer(text):
        start, end = cluster.span()
        if end - start < 6:
            if not _has_letters(text, start, end):
                continue
        elif (stamp := _RE.stamp.match(text, start)) is not None:
            start = stamp.end()
            if end - start < 4:
                continue
        if seen is None:
            found += _in_cluster(text, lower, start, end)
            continue
        near = (text[start - _REACH if start > _REACH else 0 : end + _REACH], min(start, _REACH), end - start)
        if near not in seen:
            spans = _in_cluster(text, lower, start, end)
            if spans:
                found += spans
            else:
                seen.add(near)
    return found


def holds_numbers(text: str) -> bool:
    """Whether any four digits stand close together."""
    return _RE.cluster.search(text) is not None


def _has_letters(text: str, start: int, end: int) -> bool:
    """Whether letters stand among the digits or beside them, as in an IBAN or a lettered identifier."""
    before, after = text[start - 4 if start > 3 else 0 : start], text[end : end + 3]
    if before[-1:].isalpha() or after[:1].isalpha() or _RE.letter.search(text, start, end) is not None:
        return True
    if before[-1:] in " -" and before[-2:-1].isupper() and not (before[-3:-2].isupper() and before[-4:-3].isalpha()):
        return True  # GB 29, X-1234567-L, AB 12 34 56 C
    return after[:1] in " -.(" and after[1:2].isalnum() and not after[2:].isalpha()


def _in_cluster(text: str, lower: str, start: int, end: int) -> list[Span]:
    """The first kind that anything is found of. What else stands there is found in the next pass."""
    if _has_letters(text, start, end):
        lettered = ibans_in(text, max(0, start - 10), end) or lettered_in(text, max(0, start - 7), end + 3)
        if lettered:
            return sorted(lettered)
    if end - start < 6:
        return []
    if text.count(".", start, end) > 2 and (found := ipv4_in(text, start, end)):
        return found
    if end - start > 11 and _RE.twelve.match(text, start) is not None and (found := cards_in(text, lower, start, end)):
        return sorted(found)
    if _RE.six.match(text, start) is None:
        return []
    first = start - (start > 0 and text[start - 1] in "+(")
    last = end + (text[end : end + 1] == ")")
    return [span for run in _RE.run.finditer(text, first, last) for span in _in_run(text, lower, *run.span())]


def _in_run(text: str, lower: str, start: int, end: int) -> Iterator[Span]:
    if text[end - 1] == ")" and "(" not in text[start:end]:
        end -= 1
    elif text[start] == "(" and ")" not in text[start:end]:
        start += 1
    if not _opens(text, start) or not ends(text, end):
        return
    run = text[start:end]
    found = identity_in(text, start, end)
    weak = found is not None and found[2] == NATIONAL_ID and len(run) in WEAK
    if found is not None and not (weak and _is_technical(text, lower, start, end)):
        yield found
        return
    places = telling(text, start, end)
    if places and not _is_money(text, lower, start, end):
        labelled = not _assigned(text, start) or kind_before(text, lower, start) == A_PHONE
        for first, last in places:
            if labelled or not run.isdigit():
                yield first, with_extension(lower, last), PHONE
        if labelled or not run.isdigit():
            return
    yield from _by_words(text, lower, start, end, run)


def _opens(text: str, start: int) -> bool:
    """Whether a number may begin here: after a blank, an opening sign, or a label and its colon."""
    if starts(text, start):
        return True
    return text[start - 1] == ":" and start > 1 and is_word(text[start - 2]) and not text[start - 2].isdigit()


def _by_words(text: str, lower: str, start: int, end: int, run: str) -> Iterator[Span]:
    """What a word beside the run says it is; without one, a vague form where nothing is technical."""
    kind = kind_before(text, lower, start)
    digits = sum(map(str.isdigit, run))
    if kind is None and phone_after(lower, end):
        kind = A_PHONE
    if kind in _TOKENS and not is_date(run):
        if digits in _LENGTHS[kind]:
            yield start, with_extension(lower, end) if kind == A_PHONE else end, _TOKENS[kind]
        elif digits > 15 and kind == A_PHONE:
            yield from _several(text, lower, start, end)
    elif (
        kind is None
        and is_vague(run)
        and (not is_short(run) or _RE.closes.match(text, end))
        and not _is_technical(text, lower, start, end)
    ):
        yield start, with_extension(lower, end), PHONE


def _several(text: str, lower: str, start: int, end: int) -> Iterator[Span]:
    """Numbers of ten digits and more, with blanks between them."""
    for word in re.finditer(r"[^ ]+", text[start:end]):
        if 7 <= sum(map(str.isdigit, word.group())) <= 15 and not is_date(word.group()):
            yield start + word.start(), start + word.end(), PHONE


def _is_technical(text: str, lower: str, start: int, end: int) -> bool:
    """An assignment, an amount, a row of numbers, or a word such as `id`, `order`, `bytes` beside it."""
    return (
        _assigned(text, start)
        or _is_money(text, lower, start, end)
        or _RE.row_before.search(text, max(0, start - 8), start) is not None
        or _RE.row_after.match(text, end) is not None
        or kind_before(text, lower, start) == TECHNICAL
    )


def _assigned(text: str, start: int) -> bool:
    return _RE.assigned.search(text, max(0, start - 8), start) is not None


def _is_money(text: str, lower: str, start: int, end: int) -> bool:
    return text[start - 1 : start] in ("$", "€", "£", "¥", "₹") or _UNIT_AFTER.match(lower, end) is not None

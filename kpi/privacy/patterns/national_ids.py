"""National identifiers in text: by their written form and check digits, or by a word beside them; passports by a word.

A bare run of digits with one check digit is right by chance once in ten: it is masked only where a word names it.
"""

import re
from collections.abc import Callable
from importlib import import_module

from kpi.privacy.patterns import DATA, check_digits, shapes
from kpi.privacy.patterns.masking import NATIONAL_ID, PASSPORT, SSN, Span, ends, starts

_RE = shapes("national_ids")
_Check = Callable[[str], bool]
_GAPS = str.maketrans("", "", " .-/()")
_NINES = str.maketrans("0123456789", "9999999999")
WEAK = frozenset([14])  # lengths of forms that rows of numbers have as well: Aadhaar, South Korea
_PAPERS = DATA["national_ids"]["papers"]
PAPERS = dict.fromkeys(_PAPERS["passport"], PASSPORT) | dict.fromkeys(_PAPERS["national_id"], NATIONAL_ID)


def _check(name: str) -> _Check:
    """What decides over a written form: a module of python-stdnum, or a function of `check_digits`."""
    if name == "any":
        return lambda found: True
    if "." in name:
        return lambda found: bool(import_module(f"stdnum.{name}").is_valid(found))
    own: _Check = getattr(check_digits, name)
    return lambda found: own(found.translate(_GAPS))


_FORMS = {form: tuple(map(_check, names.split())) for form, names in DATA["national_ids"]["forms"].items()}
_LETTERED = tuple((re.compile(form), _check(name)) for form, name in DATA["national_ids"]["lettered"].items())


def paper_after(text: str, at: int, word: str) -> list[Span]:
    """The number of a passport or another paper, with letters or without, after the word for it."""
    match = _RE.labelled.match(text, at)
    if match is None or _RE.date.match(match[1]) or len(match[1]) >= 24 or not _RE.five.search(match[1]):
        return []
    start, end = match.span(1)
    return [(start, end, PAPERS[word])] if starts(text, start, frozenset("@/")) and ends(text, end) else []


def lettered_in(text: str, start: int, end: int) -> list[Span]:
    """Identifiers with letters in them, among characters that stand close together."""
    found = []
    for near in _RE.mixed.finditer(text, start, end):
        first = near.start()
        if not starts(text, first):
            continue
        for pattern, check in _LETTERED:
            match = pattern.match(text, first)
            if match is not None and ends(text, match.end()) and check(match.group()):
                found.append((first, match.end(), NATIONAL_ID))
                break
    return found


def identity_in(text: str, start: int, end: int) -> Span | None:
    """A national identifier that a run of digits and separators is, by form and check digits."""
    run = text[start:end]
    if any(check(run) for check in _FORMS.get(run.translate(_NINES), ())):
        return start, end, NATIONAL_ID
    if len(run) == 11 and _RE.ssn.fullmatch(run):
        return start, end, SSN
    return None

"""Phone numbers in text, as people of some sixty countries write them, without a word of any language beside them.

A written form is *telling* (an international or trunk prefix, an area code in brackets, groups that only phones have)
or *vague* (`612 345 678`): a vague one is masked only where nothing beside it is technical. Other runs of digits are
phones only beside a word that says so. The forms follow the national numbering plans (ITU-T E.164 and national
regulators) and everyday spelling.
"""

import re

from kpi.privacy.patterns import DATA, shapes
from kpi.privacy.patterns.masking import ends

_RE = shapes("phone_numbers")
_TELLING = re.compile(rf"(?<![0-9])(?:{'|'.join(DATA['phone_numbers']['telling'])})(?![0-9])")
_TELLING_DIGITS = range(8, 16)
_VAGUE = {form: re.compile(firsts) for form, firsts in DATA["phone_numbers"]["vague"].items()}
_NINES = str.maketrans("0123456789", "9999999999")


def is_date(run: str) -> bool:
    """Whether a run begins with a calendar date, or is a dotted quad."""
    return _RE.date.match(run) is not None


def telling(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """The places in a run of digits and separators whose written form only phones have."""
    return [
        (first, last)
        for match in _TELLING.finditer(text, start, end)
        for first, last in [match.span()]
        if (first == start or text[first - 1] in " (") and (last == end or text[last] in " )")  # between blanks
        if _is_number(match.group())
    ]


def _is_number(found: str) -> bool:
    digits = len(_RE.digits.findall(found))
    if (
        digits not in _TELLING_DIGITS
        or (digits < 9 and found[0] not in "+(" and not _RE.eight.fullmatch(found))
        or _RE.house.fullmatch(found)
    ):
        return False
    if _RE.date.match(found) or (_RE.decimal.fullmatch(found) and found[:2] != "06"):
        return False
    return found.count("(") == found.count(")")


def is_vague(run: str) -> bool:
    """Whether the run as a whole is written like a phone of some country, and like other numbers too."""
    prefix = _VAGUE.get(run.translate(_NINES))
    return prefix is not None and prefix.match(run) is not None


def is_short(run: str) -> bool:
    """Whether a vague form is one of two groups of four, as house numbers and years are written side by side."""
    return len(run) == 9 and run[4] in " -"


def with_extension(text: str, end: int) -> int:
    """The end of a number with its extension: `x12`, `ext. 12`."""
    match = _RE.extension.match(text, end)
    return match.end() if match is not None and ends(text, match.end()) else end

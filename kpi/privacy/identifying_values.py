"""What the values of a column look like: things that point at people, under a name that says nothing of it.

A judgement needs most of the different values to agree, so that one odd cell decides nothing; single identifiers in a
column that is kept are masked as in texts.
"""

import re
from collections.abc import Callable, Sequence

from kpi.disk.tables import Patterns, table_of
from kpi.privacy.identifying_names import fold

MOST = 0.5  # share of the different values that must look alike
MASKED_SHARE = 0.2  # of values that hold an e-mail address, a phone or a card: the rest is masked one by one
_FLAGS = frozenset(["true", "false", "yes", "no", "0", "1", "t", "f", "y", "n", "on", "off"])
_DATA = table_of(__file__, "people")
_RE = Patterns(_DATA["patterns"])
_GIVEN = frozenset(fold(_DATA["given"]).split())
_SENSITIVE = {reason: frozenset(fold(words).split()) for reason, words in _DATA["sensitive"].items()}
_LATEST_BIRTH = 2012  # releases, prices and expiries lie later; who uses a service is born before
_FEW_YEARS = 5

_ZH = re.compile(f"[{_DATA['family_zh']}][\u4e00-\u9fff]{{1,2}}")
_JA = re.compile(f"(?:{'|'.join(_DATA['family_ja'].split())})\\s?[\u3040-\u30ff\u4e00-\u9fff]{{1,3}}")
_KO = re.compile(f"[{_DATA['family_ko']}][\uac00-\ud7a3]{{2}}")


def are_flags(values: Sequence[str]) -> bool:
    """Whether these are all the values and nothing but true and false."""
    return bool(values) and all(v.strip().lower() in _FLAGS for v in values)


def reason_of(values: Sequence[str], *, identifiers: float = MASKED_SHARE) -> str:
    """What most of these different values look like ("names of people"), or "".

    identifiers: share of values with an e-mail address, a phone or a card from which a column is kept out.
    """
    from kpi.privacy.redact import redact  # takes a while to build, and most of a load's parent never gets here

    found = [v.strip() for v in values if v.strip()]
    if not found or are_flags(found):
        return ""
    if sum(redact(v) != v for v in found) > identifiers * len(found):
        return "e-mail addresses, phones or numbers of people"
    for reason, looks in _LOOKS:
        if sum(looks(v) for v in found) > MOST * len(found):
            return reason
    years = [_RE.year.fullmatch(v) is not None and int(v) <= _LATEST_BIRTH for v in found]
    return "birth dates or places" if all(years) and len(found) >= _FEW_YEARS else ""


def person_of(values: Sequence[str]) -> str:
    """What keeps a column out under any name, known ones too: people, their places and births, or nested data."""
    found = [v.strip() for v in values if v.strip()]
    for reason, looks in _PERSONAL:
        if sum(looks(v) for v in found) > MOST * max(len(found), 1):
            return reason
    return ""


def _full(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda value: pattern.fullmatch(value) is not None


def _is_birth(value: str) -> bool:
    found = _RE.date.fullmatch(value)
    return found is not None and int(found[1] or found[2]) <= _LATEST_BIRTH


def _is_number(value: str) -> bool:
    digits = sum(c.isdigit() for c in value)
    return digits >= 7 and _RE.number.fullmatch(value) is not None and _RE.date.fullmatch(value) is None


def _is_person(value: str) -> bool:
    if _ZH.fullmatch(value) or _JA.fullmatch(value) or _KO.fullmatch(value):
        return True
    words = _RE.word.findall(value)
    if not 1 <= len(words) <= 4 or any(c.isdigit() for c in value) or not all(w[0].isupper() for w in words[:1]):
        return False
    known = [fold(w) in _GIVEN for w in words]
    return known[0] or known[-1]


_Looks = tuple[tuple[str, Callable[[str], bool]], ...]
_LOOKS: _Looks = (
    ("geo coordinates", _full(_RE.place)),
    ("birth dates or places", _is_birth),
    ("addresses", _full(_RE.street)),
    ("names of people", _is_person),
    ("health", _full(_RE.disease)),
    *((reason, lambda v, known=words: fold(v) in known) for reason, words in _SENSITIVE.items()),
    ("numbers of people, papers or accounts", _is_number),
    ("numbers of people, papers or accounts", _full(_RE.code)),
    ("addresses of machines that lead to people", _full(_RE.hardware)),
    ("passwords, tokens or ids", lambda v: bool(_RE.opaque.fullmatch(v) and _RE.mixed.search(v))),
    ("free text", lambda v: len(v) > 80 or v.count(" ") >= 5),
)
# What no name of a column excuses: people, their places and births.
_PERSONAL: _Looks = (("nested data", lambda value: value[0] in "{["), *_LOOKS[:4])

"""Shapes of keys and tokens that name themselves, out of `patterns.toml`."""

import re

from kpi.privacy.patterns import DATA

_DATA = DATA["token_shapes"]
INNER = [
    (hint, re.compile(rf"(?<![A-Za-z0-9])(?:{shape})"))
    for hint, shape in (line.split(" ", 1) for line in filter(None, _DATA["inner"].split("\n")))
]
FOLDED = re.compile(f"(?<![A-Za-z0-9])(?i:{'|'.join(_DATA['folded'])})")


def _shapes() -> re.Pattern[str]:
    """Every prefix with its rest, in branches by first letter: a letter that begins none costs next to nothing."""
    branches: dict[str, list[str]] = {}
    for line in filter(None, _DATA["prefixes"].split("\n")):
        prefixes, letters, least = line.rsplit(" ", 2)
        rest = f"[{_DATA['alphabets'][letters]}]{{{least},4000}}={{0,3}}"
        for prefix in re.split(r"\|(?![^(]*\))", prefixes):
            branches.setdefault(prefix[0], []).append(prefix[1:] + rest)
    shapes = [f"{first}(?:{'|'.join(rests)})" for first, rests in branches.items()]
    return re.compile(f"(?<![A-Za-z0-9])(?:{'|'.join(shapes)})")


SHAPED = _shapes()

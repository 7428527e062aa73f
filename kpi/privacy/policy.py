"""What of a stranger's columns and metadata keys may be stored: one policy that every reader asks.

A metadata key of a span passes where it is on the allow-list. A column of a table that the index does not know passes
where neither its name (`identifying_names`) nor its values (`identifying_values`) point at people. A person who names
a key or column in full has it kept. What is kept is masked as texts are.
"""

import re
from collections.abc import Collection
from typing import Protocol

from kpi.errors import IngestError
from kpi.privacy import identifying_names, identifying_values

NOT_LISTED = "not on the list of allowed keys"
_REMEMBERED = 10_000
_ALLOWED = identifying_names.DATA["allowed"]
DEFAULT_ALLOW: frozenset[str] = frozenset(
    prefix + name for prefix in ("", *_ALLOWED["boxes"].split()) for name in _ALLOWED["names"].split()
) | frozenset(_ALLOWED["whole"].split())
_GLOB = re.compile(r"[*?]")


class Profiled(Protocol):
    """What a pass over the rows told about one column; values: all different ones where few, samples: some of them.

    whole: false for numbers of which one has a fraction.
    """

    @property
    def name(self) -> str: ...
    @property
    def values(self) -> tuple[str, ...]: ...
    @property
    def samples(self) -> tuple[str, ...]: ...
    @property
    def whole(self) -> bool: ...


def _pattern(text: str) -> re.Pattern[str]:
    """A glob as an anchored pattern: `*` any characters, `?` one. Runs of `*` are one, so that matching stays fast."""
    parts = re.split(r"(\*+|\?)", text)
    return re.compile("".join(".*" if p.startswith("*") else "." if p == "?" else re.escape(p) for p in parts) + r"\Z")


class Allow:
    """Which metadata keys may be stored. Fails closed: an empty list lets nothing through. Letters match in any case.

    A glob is a broad gesture: it never lets through what its name says is about people. Who wants such a key names it
    in full. Raises IngestError `ingest.allow` for a pattern that would let everything through, or has more than three
    `*`.
    """

    def __init__(self, names: Collection[str]) -> None:
        cleaned = {name.strip().casefold() for name in names if name.strip()}
        self._exact = frozenset(name for name in cleaned if not _GLOB.search(name))
        globs = sorted(name for name in cleaned if _GLOB.search(name))
        for glob in globs:
            if not re.search(r"\w{2}", glob) or len(re.findall(r"\*+", glob)) > 3:
                raise IngestError.told("ingest.allow", glob=glob[:40])
        self._globs = tuple(_pattern(glob) for glob in globs)
        self._known: dict[str, bool] = {}

    def __contains__(self, key: str) -> bool:
        known = self._known.get(key)
        if known is None:
            known = self._decide(key)
            if len(self._known) < _REMEMBERED:
                self._known[key] = known
        return known

    def names(self, key: str) -> bool:
        """Whether the list names this very key, by no pattern."""
        return key.strip().casefold() in self._exact

    def _decide(self, key: str) -> bool:
        folded = key.casefold()
        if folded in self._exact:
            return True
        if not self._globs or len(key) > 200 or identifying_names.topic_of(key) not in ("", "id"):
            return False
        return any(glob.match(folded) for glob in self._globs)


class Policy:
    """Decides for a metadata key or a column: stored, or kept out with a reason.

    allow: names and globs of keys. masks: whether single identifiers in kept values get masked; where they cannot be
    (a table read in place), one such value keeps its column out.
    """

    def __init__(self, allow: Collection[str] = DEFAULT_ALLOW, *, masks: bool = True) -> None:
        self._allow = Allow(allow)
        self._asked = Allow(set(allow) - DEFAULT_ALLOW)
        self._identifiers = identifying_values.MASKED_SHARE if masks else 0.0

    def key(self, name: str) -> str:
        """Why a metadata key of a span is kept out; "" for one that is allowed."""
        return "" if name in self._allow else identifying_names.reason_of(name) or NOT_LISTED

    def asked_for(self, name: str) -> bool:
        """Whether a person named this very column or key, beside the default list."""
        return self._asked.names(name)

    def column(self, profile: Profiled) -> str:
        """Why a column that the index does not know is kept out; "" for one that may be a cohort."""
        if self.asked_for(profile.name):
            return ""
        values = profile.values or profile.samples if profile.whole else ()  # no number of a person has a fraction
        told = "" if self._allow.names(profile.name) else identifying_names.reason_of(profile.name)
        if told and not (identifying_values.are_flags(profile.values) and identifying_names.allows_flags(profile.name)):
            return told
        return identifying_values.reason_of(values, identifiers=self._identifiers)

    def known(self, profile: Profiled, kind: str) -> str:
        """Why a column is not the known field that its last words suggest: `birth.date`, a region of coordinates."""
        if self.asked_for(profile.name):
            return ""
        if "." in profile.name and identifying_names.is_grave(profile.name):
            return identifying_names.reason_of(profile.name)
        return identifying_values.person_of(profile.values or profile.samples) if kind == "dimension" else ""

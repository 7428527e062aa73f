"""Which score or evaluation name means which outcome: a table of rules, and the order of trust between sources.

The rules are data. An organisation that names its scores otherwise passes its own `OutcomeRules`; nothing else in
the index knows a score name. Rows are canonical `scores` rows; this room never sees spans.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from kpi import schema
from kpi.disk.tables import by_word, sets, table_of

Row = Mapping[str, Any]
_NOT_WORD = re.compile(r"[^a-z0-9]+")
_RANK = {source: rank for rank, source in enumerate(schema.SOURCES)}
_TABLE = table_of(__file__)
_ANNOTATORS = by_word(_TABLE["annotators"])
_USER_NAMES = re.compile(r"^(user|customer)[^a-z0-9]|thumb|csat|feedback")
_TECHNICAL = frozenset({"refused", "fallback"})  # what the system did; says nothing of how the task ended
_BAD = frozenset({"incident", "escalated", "refused", "fallback", "overridden"})  # outcomes of which true is bad news
_FLAGS = frozenset(c.name for c in schema.OUTCOMES)


@lru_cache(maxsize=8192)
def fold(name: str) -> str:
    """Names as rules compare them: lower case, words joined by `_` (`userFeedback!` and `User Feedback` -> one)."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return _NOT_WORD.sub("_", spaced.lower()).strip("_")


def source_of(name: str, annotator: Any = None) -> str:
    """human, user, code or judge: as stated, else `user` where the name says so, else `judge`."""
    stated = _ANNOTATORS.get(fold(str(annotator))) if annotator else None
    return stated or ("user" if _USER_NAMES.search(name.lower()) else "judge")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One outcome and the score names that state it.

    outcome: a boolean outcome, a score column in [0,1], `user_rating`, or `incident` (a failed safety evaluation).
    low, high: the scale of numeric values; values outside it say nothing. None: guessed per value (0-1, -1/1, 1-5,
    1-10, 0-100), for ratings only. threshold: on [0,1], from which a number means true. inverted: high means false.
    """

    outcome: str
    names: tuple[str, ...]
    low: float | None = 0.0
    high: float | None = 1.0
    threshold: float = 0.5
    inverted: bool = False

    def read(self, row: Row, rules: OutcomeRules) -> float | bool | None:
        """What one score says about this outcome; None where its value cannot be understood.

        A label that answers the name (yes, detected) turns with `inverted`; one that judges (passed, hallucinated)
        means the same under any name.
        """
        share = self._share(row["value"])
        said = self._label(fold(row["label"]), rules) if row["label"] else None
        if self.outcome in _FLAGS or self.outcome == "incident":
            if said is None and share is not None:
                said = (share >= self.threshold) != self.inverted
            return said
        if share is not None:
            return 1.0 - share if self.inverted else share
        return None if said is None else float(said)

    def _label(self, label: str, rules: OutcomeRules) -> bool | None:
        bad_is_true = self.outcome in _BAD
        if label in rules.good_labels or label in rules.bad_labels:
            return (label in rules.bad_labels) == bad_is_true
        if label in rules.yes_labels or label in self.names:
            return not self.inverted
        if label in rules.no_labels or label.removeprefix("not_") in self.names:
            return self.inverted
        return None

    def _share(self, value: float | None) -> float | None:
        if value is None or value != value:
            return None
        low, high = (self.low, self.high) if self.low is not None and self.high is not None else _scale(value)
        return (value - low) / (high - low) if low <= value <= high else None


def _scale(value: float) -> tuple[float, float]:
    if value <= 1:
        return (-1.0, 1.0) if value < 0 else (0.0, 1.0)
    return (1.0, 5.0) if value <= 5 else (1.0, 10.0) if value <= 10 else (0.0, 100.0)


@dataclass(frozen=True, kw_only=True)
class OutcomeRules:
    """Rules and the vocabulary of labels. Where several scores speak, the more trusted source wins, then the latest."""

    rules: tuple[Rule, ...]
    yes_labels: frozenset[str] = frozenset()
    no_labels: frozenset[str] = frozenset()
    good_labels: frozenset[str] = frozenset()
    bad_labels: frozenset[str] = frozenset()
    by_name: Mapping[str, tuple[Rule, ...]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        index: dict[str, tuple[Rule, ...]] = {}
        for rule in self.rules:
            for name in rule.names:
                index[fold(name)] = (*index.get(fold(name), ()), rule)
        object.__setattr__(self, "by_name", index)

    def verdicts(self, scores: Iterable[Row]) -> dict[str, tuple[float | bool, str]]:
        """outcome -> (value, source), from all scores of one trace, in any order."""
        best: dict[str, tuple[tuple[Any, ...], float | bool, str]] = {}
        for row in scores:
            for rule in self.by_name.get(fold(row["name"] or ""), ()):
                value = rule.read(row, self)
                if value is None:
                    continue
                source = row["source"] or "judge"
                # Most trusted first, then the latest, then a total order so that any input order gives one answer.
                order = (_RANK.get(source, len(_RANK)), -(row["at"] or 0), str(row["score_id"]))
                if rule.outcome not in best or order < best[rule.outcome][0]:
                    best[rule.outcome] = (order, value, source)
        return {outcome: (value, source) for outcome, (_, value, source) in best.items()}

    def unsafe(self, scores: Sequence[Row]) -> tuple[bool, int]:
        """(a safety evaluation was made, how many of them failed)."""
        results = [
            verdict
            for row in scores
            for rule in self.by_name.get(fold(row["name"] or ""), ())
            if rule.outcome == "incident" and (verdict := rule.read(row, self)) is not None
        ]
        return bool(results), sum(1 for failed in results if failed)


def resolve(verdicts: dict[str, tuple[float | bool, str]], stated: Mapping[str, bool]) -> dict[str, Any]:
    """Outcome columns of one request from score verdicts and the application's own statements.

    A statement of the application (`resolved`, `escalated`) is what the user did: it yields to human review only.
    Success is stated, or follows from resolved and correct; a correct answer that did not resolve the task failed,
    unless a more trusted source than the one that says so states success. `outcome_source` is the source of success,
    else the most trusted source of any outcome.
    """
    known = {outcome: verdict for outcome, verdict in verdicts.items() if outcome != "incident"}
    for outcome, value in stated.items():
        source = "code" if outcome in _TECHNICAL else "user"
        if outcome not in known or _RANK[known[outcome][1]] > _RANK[source]:
            known[outcome] = (value, source)
    parts = [known[name] for name in ("resolved", "correct") if name in known]
    if "success" not in known and parts:
        known["success"] = (all(value for value, _ in parts), min((s for _, s in parts), key=_RANK.__getitem__))
    elif "success" in known and "resolved" in known and known["resolved"][0] is False:
        stated_success, source = known["success"]
        if stated_success and _RANK[known["resolved"][1]] <= _RANK[source]:
            known["success"] = (False, known["resolved"][1])
    row: dict[str, Any] = {outcome: value for outcome, (value, _) in known.items()}
    if "success" in known:
        row["outcome_source"] = known["success"][1]
    else:
        sources = [source for outcome, (_, source) in known.items() if outcome not in _TECHNICAL]
        row["outcome_source"] = min(sources, key=_RANK.__getitem__, default=None)
    return row


def _rule(*, names: str, guessed: bool = False, **facts: Any) -> Rule:
    scale: dict[str, Any] = {"low": None, "high": None} if guessed else {}
    return Rule(names=tuple(names.split()), **scale, **facts)


DEFAULT = OutcomeRules(
    rules=tuple(_rule(**stated) for stated in _TABLE["rules"]),
    **{f"{kind}_labels": labels for kind, labels in sets(_TABLE["labels"]).items()},
)

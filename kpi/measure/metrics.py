"""The registry of metrics: what each needs from a row, and how its statistics become a value.

Every metric is an entry of metrics.toml. A share, a mean, a ratio and an incident rate are all a ratio of two sums,
y over x, taken over the rows where both are known; a quantile is read off a log-binned histogram of one column; the
rest are counts. Numerators and denominators are combined last: never an average of averages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, Literal, Protocol

import sqlalchemy as sa

from kpi.disk.tables import lists, table_of
from kpi.errors import MetricError
from kpi.store.expressions import Expression, flag, known, null, one_or_zero, only, whole, within

MetricKind = Literal["count", "distinct", "rate", "ratio", "incidence", "total", "quantile", "max"]
Direction = Literal["up", "down", "none"]


class Row(Protocol):
    """Columns of a requests row as SQL expressions; a column that the data lacks is a typed NULL."""

    def __getitem__(self, column: str) -> Expression: ...


Term = Callable[[Row], Expression]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric.

    name: public id (URL, JSON, tests). kind: how the value is made, see `kpi.measure.estimate`.
    y, x: integer-valued numerator and denominator of a row, NULL where unknown; a row counts only when both are known.
    column, q: the column whose quantile (q in 0..1), distinct count or maximum is meant.
    scale: stored value times scale = value in `unit`. direction: which way is better. min_n: rows below which the
    value is "not enough data". needs: columns without which the metric cannot be known. own: the conditions of
    `own_terms` that a metric of a team's own is made of; its columns carry the prefix `own:`. signed: its values may be
    negative. smallest: see `matters`. per_unit: the column of the unit (user, session) that counts once in each group,
    instead of requests.
    """

    name: str
    label: str
    kind: MetricKind
    unit: str
    direction: Direction
    definition: str
    formula: str
    null_rule: str
    interval: str
    needs: tuple[str, ...]
    group: str
    min_n: int = 30
    scale: float = 1.0
    y: Term | None = None
    x: Term | None = None
    column: str | None = None
    q: float | None = None
    own: tuple[Any, ...] = ()
    signed: bool = False
    smallest: float | None = None
    per_unit: str = ""

    @property
    def made_of(self) -> frozenset[str]:
        """Columns as dimensions that a metric of a team's own is made of: they explain nothing of it."""
        return frozenset(part.name for part in self.own)

    @property
    def relative(self) -> bool:
        """Whether what matters of this metric is a share of its value rather than a step on its scale."""
        return self.unit != "share" and not self.signed

    @property
    def matters(self) -> float:
        """The smallest difference that matters: 0.01 of a share (1 pp), 5 % of a cost, latency or count, 20 % of a
        rate of incidents. Ratios inside 1 / (1 + m) .. 1 + m, steps inside -m .. m, make no difference to anybody.
        """
        if self.smallest is not None or self.signed:
            return self.smallest or 0.0
        return 0.01 if not self.relative else 0.20 if self.kind == "incidence" else 0.05

    @property
    def counted(self) -> bool:
        """Whether the denominator is 1 in each row that counts, so that it is their number."""
        return self.kind == "quantile" or self.x is _every or getattr(self.x, "func", None) is one

    @property
    def of_one_column(self) -> bool:
        """Whether numerator and denominator are known in the same rows, those that know one column."""
        y, x = (getattr(t, "func", None) for t in (self.y, self.x))
        return x is one and y in (_value, _flag, _within) and self.y.args[0] == self.x.args[0]  # type: ignore[union-attr]

    def improves(self, difference: float) -> bool:
        """Whether a difference is for the better; where no direction is better, less is what counts as better."""
        return (difference > 0) == (self.direction == "up")

    def moved(self, difference: float) -> str:
        """better or worse; higher or lower where no direction is better."""
        if self.direction == "none":
            return "higher" if difference > 0 else "lower"
        return "better" if self.improves(difference) else "worse"


# Terms are functions of a module with their arguments bound, so that a metric can be sent to another process.


def _value(column: str, r: Row) -> Expression:
    return r[column]


def _flag(column: str, r: Row) -> Expression:
    return flag(r[column])


def one(column: str, r: Row) -> Expression:
    """1 where a column is known, else NULL."""
    return only(known(r[column]), whole(1))


def _difference(a: str, b: str, r: Row) -> Expression:
    return r[a] - r[b]


def _severity(level: str, r: Row) -> Expression:
    return sa.case((r["incident_count"].is_(None), null()),
                   (r["worst_severity"] == level, whole(1)), else_=whole(0))  # fmt: skip


def _answered(r: Row) -> Expression:
    """1 where the user got an answer: neither refused nor failed. NULL where neither is known."""
    return sa.case((sa.or_(r["refused"].is_(sa.true()), r["error"].is_(sa.true())), whole(0)),
                   (sa.and_(r["refused"].is_(None), r["error"].is_(None)), null()), else_=whole(1))  # fmt: skip


def _within(column: str, most: int, r: Row) -> Expression:
    return within(r[column] <= whole(most), r[column])


def _computed(r: Row) -> Expression:
    return flag(r["cost_source"] != _REPORTED)


def _reported(column: str, r: Row) -> Expression:
    return only(r["cost_source"] == _REPORTED, r[column])


def _every(r: Row) -> Expression:
    return whole(1)


_REPORTED = sa.literal_column("'reported'", sa.String())
# Words of the table -> the term of their columns.
_TERMS: dict[str, Callable[..., Expression]] = {
    "value": _value, "flag": _flag, "one": one, "difference": _difference, "severity": _severity,
    "answered": _answered, "within": _within, "computed": _computed, "reported": _reported,
}  # fmt: skip
_TABLE = table_of(__file__)
LATENCY_SLO_MS = 8_000
OWN_KINDS: dict[str, dict[str, Any]] = _TABLE["own"]  # kinds of a team's own metrics
CHOSEN = lists(_TABLE["chosen"])  # names of metrics that are taken where none are named, by purpose


def _told(fields: Mapping[str, Any], words: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v.format(**words) if isinstance(v, str) else v for k, v in fields.items()}


def _metric(group: str, name: str, stated: Mapping[str, Any], *, limit: int = LATENCY_SLO_MS, **words: Any) -> Metric:
    """A metric as its entry of the table states it, over what all of its kind have in common. limit: milliseconds."""
    words |= {"milliseconds": limit, "seconds": limit / 1000, "microseconds": limit * 1000}
    own = _told({"name": name, "group": group, **stated}, words)
    found = _told(_TABLE["kind"][own["like"]] | own, words | own)
    found |= {"needs": tuple(found["needs"].split()), "scale": _TABLE["scale"].get(found["unit"], 1.0)}
    for side in {"y", "x"} & found.keys():
        word, *columns = found[side].split()
        found[side] = partial(_TERMS[word], *columns)
    return Metric(**{k: v for k, v in found.items() if k in Metric.__annotations__})


def _metrics() -> Iterator[Metric]:
    for group, entries in _TABLE["metrics"].items():
        for name, stated in entries.items():
            keys = _TABLE["each"].get(stated.get("each"), {"": ""})
            for (key, word), p in product(keys.items(), stated.get("points", (None,))):
                at = {} if p is None else {"p": p, "q": p / 100}
                yield _metric(group, name, stated | at, key=key, word=word, small=word.lower(), **at)


def slo_attainment(milliseconds: int) -> Metric:
    """Share of requests whose end-to-end latency is within a limit, in milliseconds."""
    return _metric("latency", "slo_attainment", _TABLE["metrics"]["latency"]["slo_attainment"], limit=milliseconds)


METRICS: dict[str, Metric] = {m.name: m for m in _metrics()}
"""Every metric by name, in the order in which the pages list them: a dict of `Metric`.

Example:
    >>> kpi.METRICS["latency_p95"].unit
    'ms'
"""


COVERAGE = "_coverage"  # behind the name of a metric: the share of the requests for which it is known


def _known(of: Metric, r: Row) -> Expression:
    terms = [t(r) for t in (of.y, of.x) if t is not None] or [r[of.column] if of.column else whole(1)]
    return one_or_zero(known(*terms))


def coverage(of: Metric) -> Metric:
    """The share of the requests for which a metric is known: a rate like any other, of all requests."""
    return Metric(
        name=of.name + COVERAGE, label=f"Coverage of {of.label.lower()}", kind="rate", unit="share", direction="up",
        definition=f"Share of the requests for which {of.label.lower()} is known", group=of.group, needs=("trace_id",),
        formula="requests in which it is known / requests", null_rule="every request counts",
        interval="Wilson on n / design effect, the user as cluster", y=partial(_known, of), x=_every,
    )  # fmt: skip


def metric(name: str, *, more: tuple[str, ...] = ()) -> Metric:
    """The built-in metric of that name.

    Args:
        name: A key of `kpi.METRICS`, or one with "_coverage" behind it for the share of the requests that know it.
        more: Names to offer as well where there is none.

    Returns:
        The `Metric`: unit, direction, definition, smallest n.

    Raises:
        MetricError: Names the nearest known ones.

    Example:
        >>> kpi.metric("task_success").direction
        'up'
    """
    if name in METRICS:
        return METRICS[name]
    if (of := name.removesuffix(COVERAGE)) != name and of in METRICS:
        return coverage(METRICS[of])
    import difflib

    near = difflib.get_close_matches(name, [*METRICS, *more], n=3, cutoff=0.4)
    hint = f"Did you mean {', '.join(near)}?" if near else "`kpi metrics` lists them all."
    raise MetricError("metric.unknown", f"There is no metric {name[:60]!r}", hint=hint)

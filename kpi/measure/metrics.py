"""The registry of metrics: what each needs from a row, and how its statistics become a value.

Every metric is a frozen declaration. A share, a mean, a ratio and an incident rate are all a ratio of two sums,
y over x, taken over the rows where both are known; a quantile is read off a log-binned histogram of one column; the
rest are counts. Numerators and denominators are combined last: never an average of averages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import sqlalchemy as sa

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
    value is "not enough data". needs: columns without which the metric cannot be known. own: the
    conditions of `own_terms` that a metric of a team's own is made of; its columns carry the prefix `own:`. signed: its values may be negative. smallest: see `matters`.
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

    def improves(self, difference: float) -> bool:
        """Whether a difference is for the better; where no direction is better, less is what counts as better."""
        return (difference > 0) == (self.direction == "up")


def _one(*columns: str) -> Term:
    """1 where all these columns are known, else NULL."""
    return lambda r: only(known(*(r[c] for c in columns)), whole(1))


def _rate(name: str, label: str, column: str, direction: Direction, definition: str, group: str) -> Metric:
    return Metric(
        name=name, label=label, kind="rate", unit="share", direction=direction, definition=definition,
        formula=f"requests with {column} / requests where {column} is known",
        null_rule=f"requests whose {column} is unknown are left out",
        interval="Wilson on n / design effect, the user as cluster",
        needs=(column,), group=group, y=lambda r: flag(r[column]), x=_one(column),
    )  # fmt: skip


def _mean(
    name: str, label: str, column: str, unit: str, scale: float,
    definition: str, group: str, direction: Direction = "down",
) -> Metric:  # fmt: skip
    return Metric(
        name=name, label=label, kind="ratio", unit=unit, direction=direction, definition=definition,
        formula=f"sum of {column} / requests where {column} is known",
        null_rule=f"requests whose {column} is unknown are left out", interval=_RATIO_INTERVAL,
        needs=(column,), group=group, scale=scale, y=lambda r: r[column], x=_one(column),
    )  # fmt: skip


_RATIO_INTERVAL = "user-clustered ratio of sums: widest of the log-delta and Hall's skewness-corrected interval"
_QUANTILE_INTERVAL = "order statistics on n / design effect of the indicator (Woodruff 1952), the user as cluster"


def _quantiles(
    stem: str, label: str, column: str, unit: str, scale: float, points: tuple[int, ...], definition: str, group: str
) -> list[Metric]:
    return [
        Metric(
            name=f"{stem}_p{p}", label=f"{label} p{p}", kind="quantile", unit=unit, direction="down",
            definition=f"{definition}: {p} % of requests stay at or below this value",
            formula=f"quantile {p / 100:g} of {column}, log-binned to 0.5 % of itself",
            null_rule=f"requests whose {column} is unknown are left out", interval=_QUANTILE_INTERVAL,
            needs=(column,), group=group, scale=scale, column=column, q=p / 100,
        )
        for p in points
    ]  # fmt: skip


def _worst(name: str, label: str, column: str, unit: str, scale: float, definition: str, group: str) -> Metric:
    return Metric(name=name, label=label, kind="max", unit=unit, direction="down",
                  definition=definition, formula=f"maximum of {column}",
                  null_rule="unknown values are left out", interval="none: it is the observed maximum",
                  needs=(column,), group=group, scale=scale, column=column, min_n=1)  # fmt: skip


def _ratio(
    name: str, label: str, y: str, x: str, unit: str, scale: float, definition: str, group: str,
    direction: Direction = "down", x_term: Term | None = None, formula: str = "",
) -> Metric:  # fmt: skip
    """Ratio of the sums of two columns over the rows where both are known."""
    return Metric(
        name=name, label=label, kind="ratio", unit=unit, direction=direction, definition=definition,
        formula=formula or f"sum of {y} / sum of {x}", null_rule=f"requests where {y} or {x} is unknown are left out",
        interval=_RATIO_INTERVAL, needs=(y, x), group=group, scale=scale,
        y=lambda r: r[y], x=x_term or (lambda r: r[x]),
    )  # fmt: skip


def _incidence(name: str, label: str, definition: str, y: Term) -> Metric:
    return Metric(name=name, label=label, kind="incidence", unit="per_1000", direction="down", definition=definition,
                  formula="1,000 x incidents / requests that were checked",
                  null_rule="requests that no detector looked at are left out",
                  interval="Poisson (Garwood 1936) on counts / over-dispersion, the user as cluster",
                  needs=("incident_count",), group="safety", scale=1000.0, y=y, x=_one("incident_count"))  # fmt: skip


def _severity(level: str) -> Term:
    return lambda r: sa.case((r["incident_count"].is_(None), null()),
                             (r["worst_severity"] == level, whole(1)), else_=whole(0))  # fmt: skip


def _answered(r: Row) -> Expression:
    """1 where the user got an answer: neither refused nor failed. NULL where neither is known."""
    return sa.case((sa.or_(r["refused"].is_(sa.true()), r["error"].is_(sa.true())), whole(0)),
                   (sa.and_(r["refused"].is_(None), r["error"].is_(None)), null()), else_=whole(1))  # fmt: skip


def slo_attainment(milliseconds: int) -> Metric:
    """Share of requests whose end-to-end latency is within a limit, in milliseconds."""
    limit = milliseconds * 1000
    return Metric(
        name="slo_attainment", label="Latency SLO attainment", kind="rate", unit="share", direction="up",
        definition=f"Share of requests that finish within {milliseconds / 1000:g} s",
        formula=f"requests with total latency <= {milliseconds} ms / requests with known latency",
        null_rule="requests without latency are left out", interval="Wilson on n / design effect, the user as cluster",
        needs=("total_us",), group="latency", x=_one("total_us"),
        y=lambda r: within(r["total_us"] <= whole(limit), r["total_us"]),
    )  # fmt: skip


def _total(name: str, label: str, column: str) -> Metric:
    return Metric(
        name=name, label=label, kind="total", unit="usd", direction="none", definition=f"{label} of the slice",
        formula=f"sum of {column}", null_rule="requests without a price are left out", interval="none: it is a sum",
        needs=(column,), group="cost", scale=_USD, min_n=1, y=lambda r: r[column], x=_one(column),
    )  # fmt: skip


LATENCY_SLO_MS = 8_000
_USD, _MS = 1e-9, 1e-3
_STAGES = {"queue": "Queue", "retrieval": "Retrieval", "rerank": "Rerank", "tool": "Tools", "model": "Model",
           "guardrail": "Guardrail"}  # fmt: skip
_PARTS = {"inference": "Inference", "retrieval": "Retrieval", "orchestration": "Orchestration", "tool": "Tool",
          "review": "Human review"}  # fmt: skip


def _volume() -> list[Metric]:
    count: dict[str, Any] = {"direction": "none", "interval": "none: it is a count",
                             "group": "volume", "unit": "count", "min_n": 0}  # fmt: skip
    return [
        Metric(name="requests", label="Requests", kind="count", definition="Requests in the slice", formula="count of requests",
               null_rule="every request counts", needs=("trace_id",), **count),
        Metric(name="users", label="Users", kind="distinct", definition="Distinct users (pseudonyms)", formula="distinct user_key",
               null_rule="requests without a user are left out", needs=("user_key",), column="user_key", **count),
        Metric(name="sessions", label="Sessions", kind="distinct", definition="Distinct sessions", formula="distinct session_id",
               null_rule="requests without a session are left out", needs=("session_id",), column="session_id", **count),
    ]  # fmt: skip


def _quality() -> list[Metric]:
    return [
        _rate("task_success", "Task success", "success", "up", "The request did what the user came for", "quality"),
        _rate("correctness", "Correctness", "correct", "up", "The response was judged correct", "quality"),
        _rate("groundedness", "Groundedness", "grounded", "up", "Every claim is supported by what was retrieved", "quality"),
        _rate("retrieval_hit_rate", "Retrieval hit rate", "retrieval_hit", "up",
              "A document that holds the answer was retrieved", "quality"),
        _rate("resolution", "Resolution", "resolved", "up", "The user's issue was solved", "quality"),
        _rate("refusal_rate", "Refusal rate", "refused", "down", "The assistant declined to answer", "behaviour"),
        _rate("fallback_rate", "Fallback rate", "fallback", "down", "A fallback path or canned answer was used", "behaviour"),
        _rate("escalation_rate", "Escalation rate", "escalated", "down", "The request was handed to a person", "behaviour"),
        _rate("override_rate", "Override rate", "overridden", "down", "A person changed the outcome", "behaviour"),
        _rate("error_rate", "Error rate", "error", "down", "The request failed technically", "behaviour"),
        _rate("deflection", "Ticket deflection", "deflected", "up", "No ticket was opened after the request", "business"),
        _rate("conversion", "Conversion", "converted", "up", "The request led to the wanted purchase or upgrade", "business"),
    ]  # fmt: skip


def _cost() -> list[Metric]:
    per_resolved = _ratio(
        "cost_per_resolved", "Cost per resolved task", "total_nusd", "resolved", "usd", _USD,
        "Fully loaded cost of all requests over the tasks resolved", "cost", x_term=lambda r: flag(r["resolved"]),
        formula="sum of total cost / resolved requests",
    )  # fmt: skip
    per_answered = Metric(
        name="cost_per_answered", label="Cost per answered query", kind="ratio", unit="usd", direction="down",
        definition="Fully loaded cost of all requests over those that got an answer (neither refused nor failed)",
        formula="sum of total cost / answered requests", null_rule="requests without a price, or with unknown fate, are left out",
        interval=_RATIO_INTERVAL, needs=("total_nusd",), group="cost", scale=_USD, y=lambda r: r["total_nusd"], x=_answered,
    )  # fmt: skip
    parts = [
        _mean(f"{part}_cost", f"{label} cost per query", f"{part}_nusd", "usd", _USD, f"{label} part of the cost per query", "cost")
        for part, label in _PARTS.items()
    ]  # fmt: skip
    shares = [
        _ratio(f"{part}_cost_share", f"{label} share of cost", f"{part}_nusd", "total_nusd", "share", 1.0,
               f"Share of the total cost that is {label.lower()}", "cost", direction="none")
        for part, label in _PARTS.items()
    ]  # fmt: skip
    return [
        _mean("cost_per_query", "Cost per query", "total_nusd", "usd", _USD, "Fully loaded cost of a request", "cost"),
        *_quantiles("cost", "Cost per query", "total_nusd", "usd", _USD, (50, 95), "Fully loaded cost", "cost"),
        _worst("cost_worst", "Worst cost", "total_nusd", "usd", _USD, "Dearest single request", "cost"),
        per_answered, per_resolved, *parts, *shares,
        _total("total_cost", "Total cost", "total_nusd"),
        *(_total(f"{part}_total", f"{label} total cost", f"{part}_nusd") for part, label in _PARTS.items()),
        _rate("priced_share", "Priced share", "priced", "up", "Requests whose cost is known, of those that used tokens", "cost"),
        *_price_sources(),
    ]  # fmt: skip


def _price_sources() -> list[Metric]:
    """How far the cost rests on the price table, and how well the table agrees with what was reported."""
    reported = sa.literal_column("'reported'", sa.String())
    return [
        Metric(
            name="computed_share", label="Computed cost", kind="rate", unit="share", direction="none",
            definition="Requests whose cost was computed, at least in part, from the price table or unit costs",
            formula="requests with cost_source other than reported / requests with known cost_source",
            null_rule="requests without a known cost are left out", needs=("cost_source",), group="cost",
            interval="Wilson on n / design effect, the user as cluster",
            y=lambda r: flag(r["cost_source"] != reported), x=_one("cost_source"),
        ),
        Metric(
            name="computed_deviation", label="Computed minus reported", kind="ratio", unit="share", direction="none",
            definition="Inference by the price table minus inference as reported, as a share of the latter, where both are known",
            formula="sum of (computed_nusd - inference_nusd) / sum of inference_nusd, of requests whose cost was reported",
            null_rule="requests without a reported or a computed inference cost are left out",
            interval=_RATIO_INTERVAL, needs=("computed_nusd", "cost_source"), group="cost",
            y=lambda r: r["computed_nusd"] - r["inference_nusd"],
            x=lambda r: only(r["cost_source"] == reported, r["inference_nusd"]),
        ),
    ]  # fmt: skip


def _latency() -> list[Metric]:
    points = (50, 95, 99)
    stages = [
        metric for stage, label in _STAGES.items()
        for metric in _quantiles(f"{stage}_latency", f"{label} latency", f"{stage}_us", "ms", _MS, points, f"{label} time", "latency")
    ]  # fmt: skip
    return [*_quantiles("latency", "Latency", "total_us", "ms", _MS, points, "End-to-end latency", "latency"),
            _worst("latency_worst", "Worst latency", "total_us", "ms", _MS, "Slowest single request", "latency"),
            *_quantiles("ttft", "Time to first token", "ttft_us", "ms", _MS, points, "Time to first token", "latency"),
            *stages, slo_attainment(LATENCY_SLO_MS)]  # fmt: skip


def _safety() -> list[Metric]:
    by_severity = [
        _incidence(f"{level}_incidents", f"{level.capitalize()} incidents",
                   f"Requests whose worst incident is {level}, per 1,000 requests", _severity(level))
        for level in ("critical", "major", "minor", "nit")
    ]  # fmt: skip
    return [
        _incidence("incident_rate", "Safety incidents", "Safety incidents of any severity per 1,000 requests",
                   lambda r: r["incident_count"]),
        *by_severity,
    ]  # fmt: skip


def _use() -> list[Metric]:
    return [
        _mean("input_tokens", "Input tokens", "input_tokens", "tokens", 1.0, "Tokens sent to models, cached ones included", "use", "none"),
        _mean("output_tokens", "Output tokens", "output_tokens", "tokens", 1.0, "Tokens generated", "use", "none"),
        _ratio("cached_share", "Cached input share", "cached_read_tokens", "input_tokens", "share", 1.0,
               "Share of input tokens read from a cache", "use", direction="up"),
        _mean("tool_calls", "Tool calls per request", "tool_calls", "count", 1.0, "Tool calls made by a request", "use", "none"),
        _ratio("tool_error_rate", "Tool error rate", "tool_errors", "tool_calls", "share", 1.0,
               "Tool calls that failed", "use"),
        _mean("llm_calls", "Model calls per request", "llm_calls", "count", 1.0, "Model calls made by a request", "use", "none"),
        _mean("retrieved_docs", "Documents per request", "retrieved_docs", "count", 1.0, "Documents retrieved", "use", "none"),
    ]  # fmt: skip


METRICS: dict[str, Metric] = {m.name: m for m in (*_volume(), *_quality(), *_cost(), *_latency(), *_safety(), *_use())}
"""Every metric by name, in the order in which the pages list them: a dict of `Metric`.

Example:
    >>> kpi.METRICS["latency_p95"].unit
    'ms'
"""


COVERAGE = "_coverage"  # behind the name of a metric: the share of the requests for which it is known


def coverage(of: Metric) -> Metric:
    """The share of the requests for which a metric is known: a rate like any other, of all requests."""

    def told(r: Row) -> Expression:
        terms = [t(r) for t in (of.y, of.x) if t is not None] or [r[of.column] if of.column else whole(1)]
        return one_or_zero(known(*terms))

    return Metric(
        name=of.name + COVERAGE, label=f"Coverage of {of.label.lower()}", kind="rate", unit="share", direction="up",
        definition=f"Share of the requests for which {of.label.lower()} is known", group=of.group, needs=("trace_id",),
        formula="requests in which it is known / requests", null_rule="every request counts",
        interval="Wilson on n / design effect, the user as cluster", y=told, x=lambda r: whole(1),
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

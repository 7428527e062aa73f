"""What a comparison asks for, resolved: its metrics, its two arms, the dimensions to adjust for."""

from __future__ import annotations

from collections.abc import Sequence

from kpi.errors import SliceError
from kpi.explain.aggregates.grouped_sums import Arm
from kpi.measure.metrics import CHOSEN, Metric
from kpi.measure.own_metrics import COMPARABLE, Unfit, metric_of_kind, supported
from kpi.measure.profile import profile
from kpi.measure.slice import Resolved, Slice
from kpi.measure.summary import resolve
from kpi.store.engines import Source

_NO_INTERVAL = Unfit("compare.kind", "{0.name!r} has no interval, so it cannot be compared", "Compare shares, means, "
                     "ratios, rates or quantiles; `kpi summarise` shows counts and totals.")  # fmt: skip
MIX = ("intent", "language")  # what groups are compared within, where nothing else is said
_MOST_VALUES = 60  # of a dimension to adjust for: beyond it strata are too thin


def metrics_of(source: Source, names: Sequence[str | Metric] | Metric | None) -> list[Metric]:
    """The metrics to compare, by default those of `CHOSEN` that the data holds. Raises MetricError without interval."""
    if names is None:
        return supported(source, CHOSEN["compared"])
    asked = [names] if isinstance(names, str | Metric) else names
    chosen = [metric_of_kind(source, n, COMPARABLE, _NO_INTERVAL) for n in asked]
    return list({m.name: m for m in chosen}.values())


def resolve_arms(
    source: Source, a: Slice | str | None, b: Slice | str | None, slice: Slice | None, by: str | None
) -> tuple[tuple[str, str], tuple[Arm, Arm], str]:
    """Names and rows of A and B, and the time zone. Raises SliceError where they are not two of a kind."""
    if isinstance(a, str) and a == b:
        raise SliceError("compare.same", "A and B are the same", hint="Name two values.")
    if isinstance(a, Slice) and isinstance(b, Slice):
        return ("A", "B"), (_rows(resolve(source, a)), _rows(resolve(source, b))), b.tz
    if isinstance(a, str) and isinstance(b, str):
        if by is None:
            raise SliceError("compare.by", "Two values need their dimension", hint="Say by='prompt_version'.")
        base = resolve(source, slice).slice
        rows = (_rows(resolve(source, base.where(**{by: v}))) for v in (a, b))
        return (a, b), (next(rows), next(rows)), base.tz
    if a is None and b is None:
        resolved = resolve(source, slice or Slice(dataset=source.name))
        if resolved.baseline_filters is None:
            raise SliceError(
                "compare.baseline", "There is nothing to compare the window with",
                hint="Name two slices, or two values and their dimension, or a baseline that the data has.",
            )  # fmt: skip
        before = Arm(filters=resolved.baseline_filters, window=resolved.baseline)
        return ("baseline", "window"), (before, _rows(resolved)), resolved.slice.tz
    raise SliceError("compare.sides", "A comparison needs two of a kind", hint="Give two slices or two values.")


def _rows(resolved: Resolved) -> Arm:
    return Arm(filters=resolved.filters, window=resolved.window)


def adjustment_dimensions(
    source: Source, adjust: Sequence[str] | None, by: str | None, arms: tuple[Arm, Arm]
) -> tuple[str, ...]:
    """Dimensions to adjust for. One that the arms are values of, or that the slice fixes, has no mix."""
    fixed = {d for arm in arms for d, v in arm.filters if len(v) == 1} | {by}
    if adjust is not None:
        return tuple(d for d in dict.fromkeys(adjust) if d not in fixed)
    known = profile(source).dimensions
    return tuple(d for d in MIX if 2 <= len(known.get(d, ())) <= _MOST_VALUES and d not in fixed)

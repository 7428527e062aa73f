"""Which traces to read first: typical ones of what went wrong, varied ones, the extremes, and a few that went well.

Every request that went wrong has traits: values of dimensions and its kind of error. Requests are taken one by one,
each time the one whose traits stand for the largest share of what went wrong, where a trait that was taken counts half
as much with every time, and a user who was taken a quarter. So the first are typical and the rest differ from them.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import sqlalchemy as sa

from kpi.errors import MetricError
from kpi.explain.failures.contrast import BAD, GOOD
from kpi.govern.findings import Finding, usual
from kpi.govern.story import rows_of
from kpi.measure.columns import Columns, cluster, conditions, dimension, known_terms
from kpi.measure.own_metrics import metric_of
from kpi.measure.profile import profile
from kpi.measure.slice import Slice
from kpi.measure.summary import resolve
from kpi.measure.traces import every_column
from kpi.schema import DIMENSIONS
from kpi.store.engines import Source
from kpi.store.expressions import DOUBLE, TEXT, Expression, flag, null, whole

_LOOKED = {1: 2_000, 0: 400}  # requests that are looked at, of those that went wrong and well
_TRAITS, _VALUES = 12, 50  # dimensions at most, and values of each
_AGAIN, _SAME_USER = 0.5, 0.25
_WELL = 7  # one in so many is one that went well
_EXTREMES = {"total_us": "the slowest", "total_nusd": "the dearest"}


def read_first(
    source: Source, about: Finding | Slice | None = None, most: int = 20, *, slice: Slice | None = None
) -> pd.DataFrame:
    """The traces to read first for a finding, or of the requests of a slice that failed. Two statements.

    Args:
        source: Where the rows are.
        about: A finding, or a slice; all of its default window when None.
        most: Traces to give. One in seven is one that went well under the same circumstances.
        slice: In which the finding was found, where that was not the default.

    Returns:
        A frame as of `kpi.rows`, in the order in which to read, with `why` each was chosen; the same for the same data.

    Raises:
        MetricError: Where nothing says what went wrong, or nothing did.

    Example:
        >>> found = kpi.read_first(source, kpi.Slice(last="7d"), 10)
        >>> len(found), found["why"].str.startswith("Went well").tolist().count(True)
        (10, 1)
    """
    if most < 1:
        raise MetricError("read.most", f"Cannot read {most} traces", hint="Ask for one at least.")
    view = about if isinstance(about, Slice) else slice
    if isinstance(about, Finding):
        searched = slice or usual(source)
        view = rows_of(about, searched, resolve(source, searched))
    row = Columns(source, source.table("requests"))
    wrong = _beyond(source, about, row) if isinstance(about, Finding) else _failed(source, row)
    looked = _looked(source, view, row, wrong)
    bad, good = (looked[looked["wrong"] == side].reset_index(drop=True) for side in (1, 0))
    if bad.empty:
        raise MetricError("read.none", "No request went wrong here", hint="Choose a longer window or fewer filters.")
    traits = [c for c in looked.columns if c.startswith("trait:") and looked[c].nunique() > 1]
    shares = {c: bad[c].value_counts(normalize=True, dropna=False) for c in traits}
    well = min(most // _WELL, len(good))
    why = _extremes(bad) if most - well > 3 else {}
    why = _chosen(bad, shares, most - well - len(why), set(why), "Went wrong") | why
    why |= _chosen(good, shares, well, set(), "Went well beside them")
    found = every_column(source, [row["trace_id"].in_(list(why))], "recent", None)
    found = found.drop_duplicates("trace_id").set_index("trace_id").reindex(list(why)).reset_index()
    found.insert(1, "why", list(why.values()))
    return found


# --- what went wrong -------------------------------------------------------------------------------------------------


def _failed(source: Source, row: Columns) -> Expression:
    """1 for a request that failed, 0 for one that did not, by the first outcome that is known, and by errors."""
    filled = profile(source).filled
    known = next((c for c in (*GOOD, *BAD) if filled.get(c)), None)
    if known is None:
        raise MetricError.told("read.no_outcome")
    told = flag(row[known])
    return sa.case((row["error"].is_(sa.true()), whole(1)), else_=whole(1) - told if known in GOOD else told)


def _beyond(source: Source, finding: Finding, row: Columns) -> Expression:
    """1 for a request that makes the metric of a finding worse, 0 for another; of one unknown, where that was found."""
    metric = metric_of(source, finding.metric)
    if metric.y is not None:
        y, x = known_terms(metric, row)
        value = sa.cast(y, DOUBLE) / sa.func.nullif(sa.cast(x, DOUBLE), 0)
    else:
        value = sa.cast(row[metric.column or "trace_id"], DOUBLE)
    if finding.kind == "coverage":
        return sa.case((value.is_(None), whole(1)), else_=whole(0))
    step = {"rate": 0.5, "incidence": 0.0}.get(metric.kind, finding.value / metric.scale)
    limit = sa.literal_column(repr(float(step)), DOUBLE)
    worse = value < limit if metric.direction == "up" else value > limit
    return sa.case((value.is_(None), null()), (worse, whole(1)), else_=whole(0))


def _looked(source: Source, view: Slice | None, row: Columns, wrong: Expression) -> pd.DataFrame:
    """Requests of both sides with their traits; the last characters of the id draw them, the same each time."""
    known, resolved = profile(source), resolve(source, view)
    named = [
        d for d, v in known.dimensions.items() if 1 < len(v) <= _VALUES and d not in source.outcomes | {"cost_source"}
    ]
    traits = sorted(named, key=lambda d: (d != "error_type", d not in DIMENSIONS, d))[:_TRAITS]
    columns = [dimension(source, d).label(f"trait:{d}") for d in traits]
    columns += [row[c].label(c) for c in _EXTREMES]
    tail = sa.func.substr(row["trace_id"], sa.func.length(row["trace_id"]) - whole(3))
    who = sa.cast(cluster(row), TEXT).label("user")
    columns = [row["trace_id"].label("trace_id"), who, wrong.label("wrong"), tail.label("tail"), *columns]
    side = sa.select(*columns).where(*conditions(source, resolved.filters, resolved.window)).subquery()
    place = sa.func.row_number().over(partition_by=side.c.wrong, order_by=[side.c.tail, side.c.trace_id])
    ranked = sa.select(*side.c, place.label("place")).where(side.c.wrong.is_not(None)).subquery()
    most = sa.case((ranked.c.wrong == whole(1), whole(_LOOKED[1])), else_=whole(_LOOKED[0]))
    found = source.run(sa.select(*ranked.c).where(ranked.c.place <= most)).to_pandas()
    return found.drop_duplicates("trace_id").sort_values(["wrong", "place"], ignore_index=True)


# --- which of them ---------------------------------------------------------------------------------------------------


def _extremes(bad: pd.DataFrame) -> dict[str, str]:
    """The slowest and the dearest of those that went wrong."""
    found: dict[str, str] = {}
    for column, words in _EXTREMES.items():
        values = pd.to_numeric(bad[column])
        if values.nunique() > 1:
            found.setdefault(str(bad["trace_id"].iloc[int(values.argmax())]), f"Went wrong, {words} of them")
    return found


def _chosen(
    rows: pd.DataFrame, shares: dict[str, pd.Series], most: int, taken: set[str], begin: str
) -> dict[str, str]:  # fmt: skip
    """Trace ids and why each was chosen, in the order in which they were."""
    weights = {c: rows[c].map(s).fillna(0.0).to_numpy(dtype=float) for c, s in shares.items()}
    codes = {c: pd.factorize(rows[c], use_na_sentinel=False)[0] for c in shares}
    user, ids = pd.factorize(rows["user"])[0], rows["trace_id"].astype(str).to_numpy()
    free, fresh = ~np.isin(ids, list(taken)), np.ones(len(rows))
    found: dict[str, str] = {}
    while len(found) < most and free.any():
        gain = sum(weights.values(), np.zeros(len(rows))) + 1e-9
        at = int(np.argmax(np.where(free, gain * fresh, -1.0)))
        found[ids[at]] = f"{begin}: {_traits(rows, weights, shares, at)}"
        for c in shares:
            weights[c] = np.where(codes[c] == codes[c][at], weights[c] * _AGAIN, weights[c])
        fresh = np.where(user == user[at], fresh * _SAME_USER, fresh)
        free[at] = False
    return found


def _traits(rows: pd.DataFrame, weights: dict[str, np.ndarray], shares: dict[str, pd.Series], at: int) -> str:
    """The traits for which a request was chosen, with their share of what went wrong."""
    best: Sequence[str] = sorted(weights, key=lambda c: (-weights[c][at], c))[:3]
    told = [f"{c.removeprefix('trait:')} {v} ({shares[c].get(v, 0):.0%} of those that went wrong)"
            for c in best if pd.notna(v := rows[c].iloc[at])]  # fmt: skip
    return ", ".join(told) or "one of them"

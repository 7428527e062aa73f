"""What sets failed requests apart from successful ones: attributes, tools, documents, stages, errors, words.

At most 10,000 requests of each side are sampled, spread over the window by the end of their ids. All else is arithmetic
on the sample: `lifts` tests each trait with users as clusters, `tree` gives a second opinion that is checked on users
it has not seen. Texts are redacted before they are stored; words are those of at least eleven users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import sqlalchemy as sa

from kpi.errors import MetricError
from kpi.explain.aggregates.search_space import search_space
from kpi.explain.failures import features
from kpi.explain.failures.decision_tree import Tree, grow
from kpi.explain.failures.lift import lifts
from kpi.measure.columns import Columns, cluster, conditions, dimension
from kpi.measure.profile import profile
from kpi.measure.slice import Slice
from kpi.measure.summary import resolve
from kpi.narrate.failures import contrast_sentence, feature_name
from kpi.narrate.segments import with_search_space
from kpi.narrate.wording import CLEAR, scope_of
from kpi.privacy.redact import redact
from kpi.result import Result
from kpi.schema import LATENCIES
from kpi.stats.multiplicity import benjamini_hochberg
from kpi.stats.types import Array
from kpi.store.engines import Source
from kpi.store.expressions import TEXT, Expression, flag, whole

SAMPLE = 20_000
GOOD, BAD = ("success", "resolved", "correct", "grounded", "deflected", "converted"), (
    "error", "refused", "escalated", "fallback", "overridden")  # fmt: skip
_NUMBERS = (*(c.name for c in LATENCIES if c.name != "total_us"), "input_tokens", "output_tokens", "llm_calls",
            "tool_calls", "tool_errors", "retrieved_docs", "turns", "retries")  # fmt: skip
_QUALITY = {"retrieval_hit": "missed retrieval", "grounded": "not grounded"}  # what it is called where it is false
_SCORES = ("retrieval_score", "groundedness")
# Of these a tree would learn no more than that a request failed, so they are shown as traits only.
_HINDSIGHT = frozenset({"output_tokens", "llm_calls", "tool_errors", "retries"})
# What follows from failing as often as it leads there: named behind what comes before it.
_CONSEQUENCES = _HINDSIGHT | {"grounded", "groundedness", "error_type"}
_UNITS = {"request": "trace_id", "session": "session_id"}
_ASKED = frozenset({"attribute", "tool", "stage", "size"})
_EXAMPLES = 3


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Contrast(Result):
    """Failed against successful requests.

    outcome: column that tells them apart. unit: request, or session, which failed where one of its requests did and has
    what one of them has. failed, succeeded: how many in the slice; sampled: of these, looked at.
    lifts: one row a trait, the surest first, of the clear ones causes before what may follow from failing, with kind
    (attribute, error, tool, tool error, document, quality, score, stage, size, word), name, value, trait (the same in
    words), failed_share, success_share, lift, low, high (95 %, users as clusters), log_odds, z, p, q, n, users,
    failed_examples and success_examples (up to three trace ids each that have
    the trait). looked: traits tested. tree: a second opinion, None with too little data.
    """

    main = "lifts"
    columns = ("trait", "failed_share", "success_share", "lift", "low", "high", "q", "n")
    outcome: str
    failed: int
    succeeded: int
    sampled: int
    looked: int
    lifts: pd.DataFrame
    tree: Tree | None
    sentence: str
    scope: str = ""
    unit: str = "request"


def contrast(
    source: Source, slice: Slice | None = None, *, outcome: str | None = None, most: int = 30, sample: int = SAMPLE,
    unit: Literal["request", "session"] = "request",
) -> Contrast:  # fmt: skip
    """What sets failed requests of a slice apart. At most three statements.

    Args:
        source: Where the rows are.
        slice: The rows to look at; all of them when None.
        outcome: A boolean column; by default success, or the first of those that say it worked that is known.
        most: Traits to give.
        sample: Requests (or sessions) to look at, half of them of each kind.
        unit: What failed or not: each request, or each session.

    Returns:
        A `Contrast`: `lifts`, one row a trait, the surest first, and a small tree where one can be learned.

    Raises:
        MetricError: Where no outcome is known, for an unknown one, or where one side is empty.

    Example:
        >>> found = kpi.contrast(source, kpi.Slice(last="7d"), most=5, sample=500)
        >>> found.outcome, len(found.lifts) <= 5
        ('success', True)
    """
    column = _outcome(source, outcome)
    resolved = resolve(source, slice)
    where = conditions(source, resolved.filters, resolved.window)
    picked = _picked(source, column, where, sample // 2, _UNITS[unit])
    space = search_space(source)
    dims = [d for d in space.dimensions if d != column]
    rows = _rows(source, picked, dims)
    failed = rows["failed"].to_numpy() == 1
    if not len(rows) or failed.all() or not failed.any():
        side = "failed" if not failed.any() else "succeeded"
        raise MetricError("contrast.empty", f"No {unit} {side} in this slice",
                          hint="Choose a longer window, fewer filters or another outcome.")  # fmt: skip
    user = pd.factorize(rows["user"])[0]
    stratum = np.maximum(pd.factorize(rows["language"])[0] + 1, 0) if "language" in rows else np.zeros(len(rows), int)
    numbers = [c for c in _NUMBERS if c in rows]
    called, retrieved = (_events(source, picked, rows, t) for t in ("tool_calls", "documents"))
    plain = features.joined([
        features.attributes(rows, dims, user), features.attributes(rows, ["error_type"], user, kind="error"),
        features.events(called, [("tool", "tool"), ("tool error", "tool_error")], user),
        features.events(retrieved, [("document", "document_id")], user, most=features.MAX_DOCUMENTS),
        features.untrue(rows, {c: told for c, told in _QUALITY.items() if c != column and c in rows}, user),
        features.sizes(rows, [*numbers, *(c for c in _SCORES if c in rows)], failed, user, low=_SCORES),
    ], len(rows))  # fmt: skip
    said = features.words(rows["input_text"].tolist(), user, stratum)
    if unit == "session":
        first = rows.reset_index().sort_values("own", ascending=False, kind="stable").drop_duplicates("unit")
        at, code = first["index"].to_numpy(), pd.Index(first["unit"]).get_indexer(rows["unit"])
        plain, said = (features.by_unit(t, code, user[at]) for t in (plain, said))
        rows, failed, user, stratum = rows.iloc[at], failed[at], user[at], stratum[at]
    found = _tested(plain, said, failed, user, stratum, rows["trace_id"].to_numpy(dtype=object))
    sides = {bool(k): int(v) for k, v in rows.groupby("failed")["whole"].first().items()}
    return Contrast(
        outcome=column, failed=sides[True], succeeded=sides[False], sampled=len(rows), looked=len(plain) + len(said),
        lifts=found.head(most).reset_index(drop=True), tree=_tree(plain, rows, failed, user),
        sentence=with_search_space(contrast_sentence(sides[True], sides[False], _clear(found), unit), space.sentence),
        scope=scope_of(resolved, *([sides[True] + sides[False]] if unit == "request" else [])), unit=unit,
    )  # fmt: skip


def _outcome(source: Source, asked: str | None) -> str:
    filled = profile(source).filled
    known = [c for c in (*GOOD, *BAD) if filled.get(c)]
    if asked is not None and asked not in known:
        raise MetricError("contrast.outcome", f"The outcome {asked[:40]!r} is not known in this data",
                          hint=f"It knows {', '.join(known) or 'none'}.")  # fmt: skip
    if not known:
        raise MetricError("contrast.no_outcome", "No request says whether it worked",
                          hint="Map a column to success, resolved, correct or error.")  # fmt: skip
    return asked or known[0]


# --- the sample ------------------------------------------------------------------------------------------------------


def _picked(source: Source, outcome: str, where: list[Expression], side: int, unit: str) -> sa.Subquery:
    """Ids of the sampled requests with `unit`, whether it `failed` (0, 1) and they did (`own`), and `whole`, the number
    of units on their side.

    In the order of the last four characters of the unit: random for ids that are, spread out for ids that count up.
    """
    table = source.table("requests")
    row = Columns(source, table)
    told = flag(row[outcome])
    failed = whole(1) - told if outcome in GOOD else told
    ids = row["trace_id"].label("trace_id"), row[unit].label("unit")
    known = sa.select(*ids, failed.label("own")).where(*where, told.is_not(None), row[unit].is_not(None)).subquery()
    worst = known.c.own if unit == "trace_id" else sa.func.max(known.c.own).over(partition_by=known.c.unit)
    sided = sa.select(*known.c, worst.label("failed")).subquery()
    tail = sa.func.substr(sided.c.unit, sa.func.length(sided.c.unit) - whole(3))
    place = sa.func.dense_rank().over(partition_by=sided.c.failed, order_by=[tail, sided.c.unit])
    ranked = sa.select(*sided.c, place.label("place")).subquery()
    size = sa.func.max(ranked.c.place).over(partition_by=ranked.c.failed)
    sized = sa.select(*ranked.c, size.label("whole")).subquery()
    return sa.select(*sized.c).where(sized.c.place <= whole(side)).subquery("picked")


def _rows(source: Source, picked: sa.Subquery, dims: Sequence[str]) -> pd.DataFrame:
    table = source.table("requests")
    row = Columns(source, table)
    columns = [dimension(source, d).label(f"d{i}") for i, d in enumerate(dims)]
    columns += [row[c].label(c) for c in (*_NUMBERS, *_SCORES) if c in row]
    columns += [flag(row[c]).label(c) for c in _QUALITY if c in row]
    statement = sa.select(
        *(picked.c[c] for c in ("trace_id", "unit", "own", "failed", "whole")),
        sa.cast(cluster(row), TEXT).label("user"), *columns,
        row["error_type"].label("error_type"), row["input_text"].label("input_text"),
    ).select_from(table.join(picked, table.c.trace_id == picked.c.trace_id))  # fmt: skip
    found = source.run(statement).to_pandas().rename(columns={f"d{i}": d for i, d in enumerate(dims)})
    if source.live:
        found["input_text"] = found["input_text"].map(redact, na_action="ignore")
    return found.drop_duplicates("trace_id").sort_values("trace_id", ignore_index=True)


def _events(source: Source, picked: sa.Subquery, rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """(row, value) pairs of the sampled requests: tools called and failed, or documents retrieved."""
    value = "name" if name == "tool_calls" else "document_id"
    columns = ["row", "tool", "tool_error"] if name == "tool_calls" else ["row", "document_id"]
    if not {"trace_id", value} <= set(source.columns_of(name)):
        return pd.DataFrame(columns=columns)
    table = source.table(name)
    failed = [table.c.error_type.label("error")] if "error_type" in table.c and name == "tool_calls" else []
    joined = table.join(picked, table.c.trace_id == picked.c.trace_id)
    told = sa.select(table.c.trace_id, table.c[value].label("value"), *failed).select_from(joined).distinct()
    found = source.run(told).to_pandas()
    found["row"] = found["trace_id"].map(pd.Series(np.arange(len(rows)), index=rows["trace_id"]))
    if name == "documents":
        return found.rename(columns={"value": "document_id"})[columns]
    broken = found["error"].notna() if failed else pd.Series(False, index=found.index)
    return found.assign(tool=found["value"], tool_error=found["value"].where(broken))[columns]


# --- what is said of it ----------------------------------------------------------------------------------------------


def _tested(
    plain: features.Traits, said: features.Traits, failed: Array, user: Array, stratum: Array, ids: Array
) -> pd.DataFrame:
    both = features.joined([plain, said], len(failed))
    parts = [lifts(plain.features, failed, user), lifts(said.features, failed, user, stratum)]
    found = pd.concat([p for p in parts if len(p)], ignore_index=True) if any(map(len, parts)) else parts[0]
    found = found.assign(q=benjamini_hochberg(np.nan_to_num(found["p"].to_numpy(dtype=float), nan=1.0)))
    named = pd.DataFrame(both.named, columns=["kind", "name", "value"], index=found.index)
    found = pd.concat([named.assign(trait=[feature_name(*n) for n in both.named]), found], axis=1)
    columns = both.features.tocsc()
    having = [columns.indices[columns.indptr[i] : columns.indptr[i + 1]] for i in range(len(both))]
    found["n"] = [len(h) for h in having]
    found["users"] = [len(np.unique(user[h])) for h in having]
    for side, of in (("failed_examples", True), ("success_examples", False)):
        found[side] = [tuple(ids[np.sort(h[failed[h] == of])[:_EXAMPLES]]) for h in having]
    late = found["name"].isin(_CONSEQUENCES) | (found["value"] == "none")
    found["late"] = np.where(found["q"] <= CLEAR, late.astype(int), 2)
    found["size"] = -found["z"].abs().fillna(0.0)
    order = ["late", "size", "kind", "name", "value"]
    return found.sort_values(order, kind="stable", ignore_index=True).drop(columns=["late", "size"])


def _tree(plain: features.Traits, rows: pd.DataFrame, failed: Array, user: Array) -> Tree | None:
    asked = [i for i, (kind, name, value) in enumerate(plain.named)
             if kind in _ASKED and name not in _HINDSIGHT and value != "none"]  # fmt: skip
    names = [feature_name(*plain.named[i]) for i in asked]
    sampled = rows.groupby("failed")["trace_id"].transform("size")
    weight = (rows["whole"] / sampled).to_numpy(dtype=float)
    ids = rows["trace_id"].to_numpy(dtype=object)
    return grow(plain.features.tocsc()[:, asked].toarray(), names, failed, user, weight, ids)


def _clear(found: pd.DataFrame) -> list[tuple[str, float, float]]:
    """The surest three that failed requests have more often, with both shares."""
    clear = found[(found["q"] <= CLEAR) & (found["lift"] > 1)].head(3)
    return list(clear[["trait", "failed_share", "success_share"]].itertuples(index=False, name=None))

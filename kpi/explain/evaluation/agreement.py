"""Do two raters say the same? Cohen's kappa with its interval, labels that are none counted apart.

A judge model's column may hold free text where a label should be: such answers are no labels, so they are counted and
left out, never taken for one more category.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import sqlalchemy as sa
from scipy import special

from kpi.errors import MetricError
from kpi.measure.columns import Columns, cluster, conditions, dimension
from kpi.measure.slice import Slice
from kpi.measure.summary import label, resolve
from kpi.narrate.comparisons import agreement_sentence
from kpi.narrate.wording import scope_of
from kpi.result import Result, Results
from kpi.store.engines import Source

_MOST_LABELS = 50
_SHOWN = ("kappa", "low", "high", "agreed", "expected", "n", "invalid", "unknown")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Agreement(Result):
    """kappa with its 95 % limits (NaN where the data cannot bound it); agreed: share of pairs with one label.

    expected: that share by chance; n: pairs of two valid labels; invalid: pairs of which one is no label; unknown:
    pairs of which one is missing. where: dimension -> value, of the group.
    """

    kappa: float
    low: float
    high: float
    agreed: float
    expected: float
    n: int
    clusters: int
    invalid: int
    unknown: int
    where: Mapping[str, str] = field(default_factory=dict)
    scope: str = ""

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        return (*self.where, *_SHOWN)

    @property
    def sentence(self) -> str:
        """Kappa with its limits, and on how many pairs it stands."""
        return agreement_sentence(self)

    def frame(self) -> pd.DataFrame:
        """One row: the group, then the numbers."""
        return pd.concat([pd.DataFrame([self.where]), super().frame().drop(columns="where")], axis=1)


def kappa(
    first: Sequence[str | None], second: Sequence[str | None], *, labels: Sequence[str] | None = None,
    clusters: Sequence[object] | None = None, weights: Sequence[float] | None = None,
) -> Agreement:  # fmt: skip
    """Cohen's kappa of two raters of the same items.

    The variance is that of the linearised kappa summed by cluster, which is that of Fleiss, Cohen and Everitt where
    nothing repeats; t with clusters - 1 degrees of freedom.

    Args:
        first: Labels of the first rater, None where there is none.
        second: Labels of the second, in the same order.
        labels: What counts as a label; by default all that the first rater used.
        clusters: Who or what repeats, such as the user.
        weights: Number of equal pairs.

    Returns:
        An `Agreement`: kappa with its 95 % limits, share agreed, share expected by chance, n.

    Source:
        Cohen 1960; Fleiss, Cohen and Everitt 1969.

    Example:
        >>> found = kpi.kappa(["a", "a", "b", "b"], ["a", "a", "b", "a"])
        >>> found.kappa, found.agreed
        (0.5, 0.75)
    """
    table = pd.DataFrame({"a": list(first), "b": list(second)}, dtype=object)
    table["w"] = 1.0 if weights is None else np.asarray(weights, dtype=float)
    repeats = clusters is not None
    table["c"] = list(clusters) if clusters is not None else np.arange(len(table))
    missing = table["a"].isna() | table["b"].isna()
    allowed = sorted(set(labels) if labels is not None else set(table["a"].dropna()))
    valid = ~missing & table["a"].isin(allowed) & table["b"].isin(allowed)
    counts = {"unknown": round(table.loc[missing, "w"].sum()),
              "invalid": round(table.loc[~missing & ~valid, "w"].sum())}  # fmt: skip
    kept = table[valid]
    n = float(kept["w"].sum())
    if n == 0:
        nothing = float("nan")
        return Agreement(kappa=nothing, low=nothing, high=nothing, agreed=nothing, expected=nothing, n=0, clusters=0,
                         **counts)  # fmt: skip
    place = {v: i for i, v in enumerate(allowed)}
    a, b = (kept[k].map(place).to_numpy(dtype=int) for k in "ab")
    w = kept["w"].to_numpy(dtype=float)
    of_a, of_b = (np.bincount(v, w, minlength=len(allowed)) / n for v in (a, b))
    agreed, expected = float(w[a == b].sum()) / n, float((of_a * of_b).sum())
    groups = pd.factorize(kept["c"])[0]
    size = int(groups.max()) + 1 if repeats else round(n)
    if expected >= 1:  # both always gave one label: nothing to agree on beyond chance
        value = low = high = float("nan")
    else:
        value = (agreed - expected) / (1 - expected)
        each = ((a == b) * (1 - expected) - (1 - agreed) * (of_b[a] + of_a[b])) / (1 - expected) ** 2
        each = each - float((each * w).sum()) / n
        squares = np.bincount(groups, each * w) ** 2 if repeats else each**2 * w
        error = float(np.sqrt(squares.sum())) / n
        reach = error * float(special.stdtrit(size - 1, 0.975)) if size > 1 else float("nan")
        low, high = max(value - reach, -1.0), min(value + reach, 1.0)
    return Agreement(
        kappa=value, low=low, high=high, agreed=agreed, expected=expected, n=round(n), clusters=size, **counts
    )


def agreement(
    source: Source, first: str, second: str, slice: Slice | None = None,
    *, by: Sequence[str] = (), labels: Sequence[str] | None = None,
) -> Results[Agreement]:  # fmt: skip
    """Agreement of two dimensions that hold labels of the same requests, such as a human's and a judge's. One query.

    Args:
        source: Where the rows are.
        first: Dimension of the first rater's labels.
        second: Dimension of the second rater's labels.
        slice: The rows to look at; all of them when None.
        by: Dimensions to group by.
        labels: See `kappa`; by default what `first` holds in the whole slice.

    Returns:
        A list of one `Agreement` for each value of `by`, one in all without; `.frame()` has a row for each.

    Raises:
        MetricError: For an unknown dimension or one without labels.

    Example:
        >>> import pandas as pd
        >>> labels = {"x_human": ["good", "bad", "good"], "x_judge": ["good", "bad", "bad"]}
        >>> rows = kpi.from_frame(pd.DataFrame({"success": [True, False, True], **labels}))
        >>> kpi.agreement(rows, "human", "judge")[0].n
        3
    """
    resolved = resolve(source, slice)
    table = source.table("requests")
    keys = [dimension(source, d).label(f"k{i}") for i, d in enumerate((first, second, *by))]
    keys.append(cluster(Columns(source, table)).label("c"))
    counted = sa.select(*keys, sa.func.count().label("n")).select_from(table)
    counted = counted.where(*conditions(source, resolved.filters, resolved.window)).group_by(*keys)
    rows = source.run(counted).to_pandas()
    allowed = list(labels) if labels is not None else sorted(set(rows["k0"].dropna()))
    if len(allowed) > _MOST_LABELS:
        raise MetricError("agreement.labels", f"{first!r} has {len(allowed)} values, which are no labels",
                          hint="Name the labels that count in `labels`.")  # fmt: skip
    names = [f"k{i + 2}" for i in range(len(by))]
    alone = rows["c"].nunique() == rows["n"].sum()
    scope, found = scope_of(resolved, int(rows["n"].sum())), []
    for key, mine in rows.groupby(names, dropna=False, sort=True) if names else [((), rows)]:
        told = kappa(mine["k0"].tolist(), mine["k1"].tolist(), labels=allowed, weights=mine["n"].tolist(),
                     clusters=None if alone else mine["c"].tolist())  # fmt: skip
        where = dict(zip(by, map(label, key), strict=True))
        found.append(replace(told, where=where, scope=scope))
    return Results(found, scope=scope)

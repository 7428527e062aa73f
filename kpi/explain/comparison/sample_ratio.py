"""Was a test assigned as planned? Users of each arm against the planned split: the sample-ratio check.

Where an arm has more or fewer users than chance explains, users were lost or sent there for a reason, and the arms
differ in more than the version. Six of a hundred tests of a large company do (Fabijan, Gupchup, Gupta, Omhover, Qin,
Vermeer and Dmitriev 2019, KDD, 2156). A user counts once, where first seen: so a user who later meets the other arm
does not blur the split, and a split by request instead of by user is checked rightly as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from scipy import special

from kpi.errors import SliceError
from kpi.explain.aggregates.grouped_sums import Arm, grouped_sums, requests
from kpi.explain.comparison.inputs import resolve_arms
from kpi.measure.columns import cluster, dimension
from kpi.measure.estimate import wilson
from kpi.measure.slice import NONE_VALUE, Slice
from kpi.narrate.sample_ratios import Times, sample_ratio_sentence
from kpi.narrate.wording import scope_words
from kpi.result import Result
from kpi.stats.multiplicity import benjamini_hochberg
from kpi.stats.types import Array
from kpi.store.engines import Query, Source
from kpi.store.expressions import Expression

ALARM = 0.001  # Fabijan et al. (2019), section 2: rare enough to stop a test for
VERDICTS = ("mismatch", "as planned", "not enough users")
_LEAST = 5.0  # users expected in an arm, for the chi-square distribution to hold
_POWER = float(special.ndtri(0.8))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SampleRatio(Result):
    """Users of arm A and B against the planned split; of verdicts see `VERDICTS`.

    users_a, users_b: users by the arm in which they were first seen; share_b (low, high: 95 %) of them in B, expected_b
    as planned. p: of Pearson's chi-square, one degree. smallest: the distance from the plan that 8 of 10 such checks
    notice. users_both: seen in both arms; undecided: of these, left out because the first arm is not known. unnamed:
    requests without a user id, left out, because requests of users who repeat do not test a split. where: `of` ("day"
    of first sight, or a dimension), value, a, b, share_b, p, q (Benjamini and Hochberg 1995, by `of`), alarm.
    """

    columns = ("of", "value", "a", "b", "share_b", "p", "q", "alarm")
    a: str
    b: str
    by: str | None
    users_a: int
    users_b: int
    share_b: float
    low: float
    high: float
    expected_b: float
    p: float
    smallest: float
    verdict: str
    users_both: int
    undecided: int
    unnamed: int
    where: pd.DataFrame
    sentence: str
    scope: str = ""

    @property
    def alarm(self) -> bool:
        return self.verdict == "mismatch"

    def frame(self) -> pd.DataFrame:
        """The users of both arms, then those of each day and value, as in `where`."""
        whole = {"of": "all", "value": None, "a": self.users_a, "b": self.users_b, "share_b": self.share_b, "p": self.p,
                 "q": self.p, "alarm": self.alarm}  # fmt: skip
        return pd.DataFrame([whole, *self.where.to_dict("records")])


def sample_ratio(
    source: Source, a: Slice | str, b: Slice | str, slice: Slice | None = None, *, by: str | None = None,
    within: str | Sequence[str] = (), expected: tuple[float, float] | None = None,
) -> SampleRatio:  # fmt: skip
    """Whether the users of A and B are split as planned, and where they are not. A and B as of `kpi.compare`.

    By day wherever there are times. A plan that changed on the way (a ramp-up) is no single split: choose a window in
    which it stood still. One query.

    Args:
        source: Where the rows are.
        a: A slice, or a value of `by`.
        b: A slice, or a value of `by`.
        slice: In which values of `by` are compared.
        by: The dimension of which a and b are values.
        within: Dimensions in whose values the split is checked as well, each user by the first request.
        expected: Planned users of A and of B in proportion, such as (9, 1); equal where None.

    Returns:
        A `SampleRatio`: users of each side, share of B with its limits, p and a verdict.

    Raises:
        SliceError: Where A and B are not two arms or `expected` is no split.
        MetricError: For an unknown dimension.

    Example:
        >>> found = kpi.sample_ratio(source, "de", "en", by="language", slice=kpi.Slice(last="28d"))
        >>> 0 < found.low <= found.share_b <= found.high < 1
        True
    """
    if a is None or b is None:
        raise SliceError("ratio.sides", "A split is between two arms", hint="Name two values and `by`, or two slices.")
    planned = _planned(expected)
    names, arms, zone = resolve_arms(source, a, b, slice, by)
    dimensions = [within] if isinstance(within, str) else list(dict.fromkeys(within))
    tz = (slice or (a if isinstance(a, Slice) else Slice())).tz
    seen = _seen(source, arms, dimensions, tz)
    first = seen.first
    counts = np.array([int((first["arm"] == i).sum()) for i in (0, 1)])
    n = int(counts.sum())
    share = counts[1] / n if n else math.nan
    low, high = (float(v) for v in wilson(counts[1], n)) if n else (math.nan, math.nan)
    p = float(_p(counts[0], counts[1], planned))
    verdict = "not enough users" if math.isnan(p) else "mismatch" if p < ALARM else "as planned"
    reach = float(special.ndtri(1 - ALARM / 2)) + _POWER
    found = SampleRatio(
        a=names[0], b=names[1], by=by, users_a=int(counts[0]), users_b=int(counts[1]), share_b=float(share), low=low,
        high=high, expected_b=planned, p=p, verdict=verdict, users_both=seen.both, undecided=seen.undecided,
        smallest=reach * math.sqrt(planned * (1 - planned) / n) if n else math.nan, unnamed=seen.unnamed,
        where=_where(first, {"day": "day"} | {f"d{i}": d for i, d in enumerate(dimensions)}, planned), sentence="",
        scope=scope_words([arms[1].window, arms[0].window], zone),
    )  # fmt: skip
    return replace(found, sentence=sample_ratio_sentence(found, starts=seen.starts, ends=seen.ends))


def _planned(expected: tuple[float, float] | None) -> float:
    """The planned share of B."""
    parts = (1.0, 1.0) if expected is None else tuple(float(v) for v in expected)
    if len(parts) != 2 or not all(math.isfinite(v) and v > 0 for v in parts):
        raise SliceError("ratio.expected", "The planned split needs two positive numbers",
                         hint="Say expected=(9, 1) for nine users in A to one in B.")  # fmt: skip
    return parts[1] / sum(parts)


# --- who was seen where ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Seen:
    """first: a row a user whose first arm is known, with arm, d0, d1, … of dimensions and day if there are times."""

    first: pd.DataFrame
    both: int
    undecided: int
    unnamed: int
    starts: Times
    ends: Times


def _seen(source: Source, arms: tuple[Arm, Arm], dimensions: Sequence[str], tz: str) -> _Seen:
    rows = source.run(sa.union_all(*(_statement(source, a, i, dimensions) for i, a in enumerate(arms)))).to_pandas()
    unnamed = int(rows.loc[rows["user"].isna(), "rows"].sum())
    rows = rows[rows["user"].notna()]
    met = rows.groupby("user")["arm"].nunique()
    timed = "first" in rows and rows["first"].notna().any()
    if timed:
        rows["first"], rows["last"] = (pd.to_datetime(rows[c], utc=True) for c in ("first", "last"))
        rows = rows.sort_values("first", kind="stable", na_position="last")
        rows["day"] = rows["first"].dt.tz_convert(tz).dt.strftime("%Y-%m-%d")
    first = rows.groupby("user", sort=True).first()
    unknown = met > 1
    if timed:  # seen in both arms, and not at the same moment
        earliest = rows.groupby(["user", "arm"])["first"].min().unstack("arm").reindex(first.index)
        if earliest.shape[1] == 2:
            unknown &= ~(earliest[0] != earliest[1]) | earliest.isna().any(axis=1)
    span = [rows[rows["arm"] == i] for i in (0, 1)]
    starts, ends = (tuple(_moment(s[c], pick) if timed else None for s in span) for c, pick in
                    (("first", "min"), ("last", "max")))  # fmt: skip
    return _Seen(first=first[~unknown], both=int((met > 1).sum()), undecided=int(unknown.sum()),
                 unnamed=unnamed, starts=(starts[0], starts[1]), ends=(ends[0], ends[1]))  # fmt: skip


def _statement(source: Source, arm: Arm, number: int, dimensions: Sequence[str]) -> Query:
    """A row for each user and value in one arm: when first and last seen."""
    row = requests(source)
    user = sa.case((row["user_key"].is_not(None), cluster(row)))  # else NULL: nobody knows whose requests these are
    keys = {"user": user, **{f"d{i}": dimension(source, d) for i, d in enumerate(dimensions)}}
    sums: dict[str, Expression] = {"rows": sa.func.count()}
    if "started_at" in row:
        sums |= {"first": sa.func.min(row["started_at"]), "last": sa.func.max(row["started_at"])}
    return grouped_sums(source, arm, keys=keys, sums=sums, number=number)


def _moment(times: pd.Series, pick: str) -> datetime | None:
    found = getattr(times, pick)()
    return None if pd.isna(found) else found.to_pydatetime()


# --- the check -------------------------------------------------------------------------------------------------------


def _p(a: Any, b: Any, planned: float) -> Array:
    """p of Pearson's chi-square against the planned share of B; NaN where an arm should have fewer than five users."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    n = a + b
    with np.errstate(divide="ignore", invalid="ignore"):
        chi = (b - n * planned) ** 2 / (n * planned * (1 - planned))
    return np.where(n * min(planned, 1 - planned) >= _LEAST, special.chdtrc(1, chi), np.nan)


def _where(first: pd.DataFrame, names: Mapping[str, str], planned: float) -> pd.DataFrame:
    """The split by the day of first sight and by dimension (column -> name); days in order, values by users."""
    parts = []
    for column, name in names.items():
        if column not in first:
            continue
        values = first[column].astype("object").where(first[column].notna(), NONE_VALUE)
        counts = pd.crosstab(values, first["arm"]).reindex(columns=[0, 1], fill_value=0)
        if column != "day":
            counts = counts.loc[counts.sum(axis=1).sort_values(ascending=False, kind="stable").index]
        a, b = (counts[i].to_numpy() for i in (0, 1))
        p = _p(a, b, planned)
        q = benjamini_hochberg(p)
        parts.append(pd.DataFrame({"of": name, "value": list(counts.index), "a": a, "b": b, "share_b": b / (a + b),
                                   "p": p, "q": q, "alarm": q < ALARM}))  # fmt: skip
    columns = ["of", "value", "a", "b", "share_b", "p", "q", "alarm"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)

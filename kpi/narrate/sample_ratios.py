"""A sample-ratio check in words: the split, where it is off, and who was left out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from kpi.narrate.names import listed, p_words
from kpi.narrate.wording import format_count, format_interval, format_value

Times = tuple[datetime | None, datetime | None]
_CROSSED = 0.1  # share of users in both arms, from which the test is not one of users


def sample_ratio_sentence(ratio: Any, *, starts: Times, ends: Times) -> str:
    """ratio: the fields of `kpi.SampleRatio`. starts, ends: when arm A and arm B were first and last seen."""
    r = ratio
    n = r.users_a + r.users_b
    if r.verdict == "not enough users":
        told = f"Too few users to check the split: {r.users_a:,} in {r.a}, {r.users_b:,} in {r.b}."
        return " ".join([told, *_crossed(r), *_unnamed(r)])
    planned = format_value(r.expected_b, "share")
    size = f"{r.b} has {format_value(r.share_b, 'share')} of {format_count(n, 'users')}"
    limits = f"({format_interval(r.low, r.high, 'share')})"
    if not r.alarm:
        edge = [format_value(min(max(r.expected_b + s * r.smallest, 0.0), 1.0), "share") for s in (-1, 1)]
        told = f"Split as planned: {size} {limits}, planned {planned} ({p_words(r.p)})."
        told += f" A share below {edge[0]} or above {edge[1]} would have been noticed."
        return " ".join([told, *_crossed(r), *_uneven(r), *_unnamed(r)])
    return " ".join([
        f"Sample-ratio mismatch: {size} {limits} where {planned} was planned; chance does this in fewer than 1 of"
        f" 1,000 sound tests ({p_words(r.p)}).",
        f"{r.a} and {r.b} then differ in more than what is tested: do not decide on their differences.",
        *(_apart((r.a, r.b), starts, ends) or _uneven(r)), *_crossed(r), *_unnamed(r),
        "Look for users that one of them loses or attracts: assignment, redirects, errors, bots, filters and logging.",
    ])  # fmt: skip


def _apart(arms: Sequence[str], starts: Times, ends: Times) -> list[str]:
    """Arms that did not run at the same time are no split at all, the commonest cause."""
    told = []
    for (one, two), word, late in ((starts, "began", 1), (ends, "ended", 0)):
        if one is None or two is None or abs(two - one) < timedelta(days=1):
            continue
        name = arms[1] if (two > one) == bool(late) else arms[0]
        days = round(abs(two - one) / timedelta(days=1))
        apart = format_count(days, "day" if days == 1 else "days")
        told.append(f"{name} {word} {apart} {'later' if late else 'earlier'} than the other")
    return [f"{' and '.join(told)}: look at the days in which both ran."] if told else []


def _uneven(r: Any) -> list[str]:
    """The days and values in which the split is off, the surest first."""
    told = []
    tested = r.where[r.where["q"].notna()]
    for name, rows in tested.groupby("of", sort=False):
        off = rows[rows["alarm"].astype(bool)]
        if len(off) in (0, len(rows)):  # everywhere or nowhere: this is not what it depends on
            continue
        values = [_day(v) if name == "day" else str(v) for v in off.sort_values("q", kind="stable")["value"]]
        told.append(f"{'on' if name == 'day' else f'in {name}'} {listed(values)}")
    if told:
        return [f"The split is off {' and '.join(told)}."]
    everywhere = r.alarm and len(tested) > 1 and bool(tested["alarm"].all())
    return ["It is off in every part alike: perhaps another split was planned."] if everywhere else []


def _day(text: str) -> str:
    return f"{datetime.fromisoformat(text):%d %b}".lstrip("0")


def _crossed(r: Any) -> list[str]:
    if not r.users_both:
        return []
    everyone = r.users_a + r.users_b + r.undecided
    share = format_value(r.users_both / everyone, "share")
    told = f"{format_count(r.users_both, 'users' if r.users_both > 1 else 'user')} ({share}) met both"
    left = f"; {r.undecided:,} are left out, since it is not known which came first" if r.undecided else ""
    told += f" and count where first seen{left}." if r.undecided < r.users_both else f"{left}."
    if r.users_both > _CROSSED * everyone:
        told += " Users do not keep to one: what they learn in one carries over to the other."
    return [told]


def _unnamed(r: Any) -> list[str]:
    return [f"{format_count(r.unnamed, 'requests')} without a user id are left out."] if r.unnamed else []

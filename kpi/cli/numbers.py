"""Numbers with their intervals and states: `kpi metrics | scorecard | summarise | reliability`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import kpi
from kpi.cli.command import BREACHED, CANNOT_TELL, FINE
from kpi.cli.options import By, GivenDataset, Json, SliceOptions, argument, listed, option, with_slice
from kpi.cli.output import fields, print_json, print_table, say, show

if TYPE_CHECKING:
    import pandas as pd

PANEL = "Numbers"
COMMANDS = {
    "metrics": ("kpi metrics",),
    "scorecard": ("kpi scorecard --dataset sample --last 28d",),
    "summarise": (
        "kpi summarise task_success latency_p95 --by language,prompt_version --every week --dataset sample",
        "kpi summarise cost_per_query --dataset sample --where channel=api --last all",
    ),
    "reliability": ("kpi reliability --by intent -k 3 --dataset sample",),
}


def metrics(dataset: GivenDataset = None, json: Json = False) -> int:
    """List metrics with unit and definition, a team's own among them where a data set is named."""
    found = (kpi.metrics_of(kpi.open(dataset)) if dataset else kpi.METRICS).values()
    keys = "name label unit direction definition formula null_rule interval min_n"
    rows = ((m.name, m.unit, m.direction, m.definition) for m in found)
    return show(json, {"metrics": [fields(m, keys) for m in found]}, ("metric", "unit", "better", "definition"), rows)


@with_slice
def scorecard(
    asked: SliceOptions,
    register: Annotated[
        Path | None, option("--register", "FILE", "Register of KPIs (TOML) instead of the built-in one.")
    ] = None,
    metrics: Annotated[str, option("--metrics", "M,M", "KPIs to judge (default: all of the register).")] = "",
    json: Json = False,
) -> int:
    """Every governed KPI with state, change, owner and next step.

    Exit code 1 where a KPI is off target, 2 where one lacks data.
    """
    own = kpi.load_register(register) if register else None
    chosen = listed(metrics) or None
    source, looked = asked.ask(metrics=chosen or ())
    card = kpi.scorecard(source, looked, register=own, metrics=chosen)
    if json:
        print_json(card.to_dict())
    else:
        _print_card(card)
    if card.state == "off_target":
        return BREACHED
    return CANNOT_TELL if any(c.state == "no_data" for c in card.cards) else FINE


def _print_card(card: kpi.Scorecard) -> None:
    say(card.sentence)
    index = card.index
    if math.isfinite(index.value):
        say(f"Index {index.value:.0f} ({index.low:.0f} to {index.high:.0f}) from {index.n} of {index.total} KPIs")
        print()
    words = kpi.wording
    print_table(
        ("KPI", "value", "95 % interval", "n", "change", "target", "state", "owner"),
        [
            (c.label, words.format_value(c.value, c.unit), words.format_interval(c.low, c.high, c.unit),
             words.format_count(c.n), c.change.words if c.change else "–", words.format_value(c.target, c.unit),
             words.STATES[c.standing].word, c.owner)
            for c in card.cards
        ],
    )  # fmt: skip
    for c in card.cards:
        if c.known:
            say(f"{c.label}: {c.known}.", indent=2)
        if c.state != "on_target":
            say(f"{c.label}: {c.reason} Next: {c.action}", indent=2)


@with_slice
def summarise(
    asked: SliceOptions, metrics: Annotated[list[str], argument("METRIC", "Metrics.")], by: By = "",
    every: Annotated[Literal["hour", "day", "week", "month"] | None, option("--every", None, "Time bucket.")] = None,
    json: Json = False,
) -> int:  # fmt: skip
    """Metrics by dimension and time.

    Exit code 2 where no number can be told.
    """
    return answer(asked, metrics, by, every, json)


def answer(asked: SliceOptions, metrics: list[str], by: str, every: str | None, json: bool) -> int:
    """Metrics of the slice by dimension and time."""
    dimensions = listed(by)
    source, looked = asked.ask(every=every, metrics=metrics)
    frame = kpi.summarise(source, metrics, looked, by=dimensions, every=every)
    head, rows, plain = told_rows(frame, dimensions, every)
    show(json, {"rows": plain}, head, rows)
    return FINE if frame["value"].map(math.isfinite).any() else CANNOT_TELL


def told_rows(
    frame: pd.DataFrame, by: list[str], every: str | None = None
) -> tuple[tuple[str, ...], list[tuple[Any, ...]], list[dict[str, Any]]]:
    """(head, rows for people, rows for scripts) of a frame of `kpi.summarise`."""
    words, records = kpi.wording, frame.to_dict("records")
    rows = [
        (r["metric"], *(r[d] if r[d] is not None else "(none)" for d in by), *((_bucket(r, every),) if every else ()),
         words.format_value(r["value"], r["unit"]), words.format_interval(r["low"], r["high"], r["unit"]),
         words.format_count(r["n"]))
        for r in records
    ]  # fmt: skip
    head = ("metric", *by, *(("from",) if every else ()), "value", "95 % interval", "n")
    return head, rows, [_summary(r, by) for r in records]


def _bucket(row: dict[str, Any], every: str) -> str:
    """When a bucket begins, hours with their offset, and whether it is unfinished."""
    shown = f"{row['start']:%Y-%m-%d %H:%M %z}" if every == "hour" else f"{row['bucket']:%Y-%m-%d %H:%M}"
    return shown if row["complete"] else f"{shown} (unfinished)"


def _summary(row: dict[str, Any], dimensions: list[str]) -> dict[str, Any]:
    import pandas as pd

    bucket = None if pd.isna(row["bucket"]) else row["bucket"].isoformat()
    numbers = {name: row[name] for name in ("value", "low", "high", "n", "unit")}
    timed = {"start": row["start"].isoformat(), "complete": row["complete"]} if "start" in row else {}
    return {"metric": row["metric"], "by": {d: row[d] for d in dimensions}, "bucket": bucket, **numbers, **timed}


@with_slice
def reliability(
    asked: SliceOptions, by: Annotated[str, option("--by", "DIM,DIM", "What a task is.")] = "task",
    k: Annotated[int, option("-k", None, "Most tries.")] = 4, json: Json = False,
) -> int:  # fmt: skip
    """Share of tasks solved in each of k tries (pass^k)."""
    source, looked = asked.ask(metrics=["task_success"])
    found = kpi.pass_hat_k(source, looked, by=listed(by), k=k)
    plain, words = found.to_dict(), kpi.wording
    show(
        json, plain, ("tries", "solved in each", "95 % interval", "tasks", "requests"),
        ((r["k"], words.format_value(r["value"], "share"), words.format_interval(r["low"], r["high"], "share"),
          words.format_count(r["n_tasks"]), words.format_count(r["trials"]))
         for r in found.rows.to_dict("records")),
        found.sentence,
    )  # fmt: skip
    return FINE if found.rows["value"].map(math.isfinite).any() else CANNOT_TELL

"""What the pages Drift, Segments, Cost and Trends say, and where the time goes: `kpi drift | fairness | cost | …`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import kpi
from kpi.cli.command import BREACHED, CANNOT_TELL, FINE
from kpi.cli.numbers import answer, told_rows
from kpi.cli.options import By, Given, Json, SliceOptions, argument, listed, option, with_slice
from kpi.cli.output import fields, print_json, print_table, records, say, show
from kpi.cli.reasons import Searched

PANEL = "Pages"
COMMANDS = {
    "drift": ("kpi drift --dataset sample", "kpi drift intent --dataset sample"),
    "fairness": ("kpi fairness --by language,language*device --dataset sample",),
    "latency": ("kpi latency --slo 5000 --dataset sample",),
    "cost": ("kpi cost --by model --dataset sample",),
    "trends": ("kpi trends task_success --by language --every week --dataset sample",),
}
COST = ("total_cost", "cost_per_query", "cost_per_answered", "cost_per_resolved", "cost_p50", "cost_p95", "cost_worst")
PARTS = ("inference_total", "retrieval_total", "orchestration_total", "tool_total", "review_total")


@with_slice
def drift(
    asked: SliceOptions,
    column: Annotated[Given, argument("COLUMN", "One column with its values (default: all, the surest first).")] = None,
    json: Json = False,
) -> int:
    """Has the world changed? Distance of every column from the baseline, or the values of one.

    Exit code 1 where a column has clearly changed, 2 where none can be told.
    """
    source, looked = asked.ask()
    if column is not None:
        return _one_column(kpi.drift(source, column, looked), json)
    found = kpi.drift(source, slice=looked)
    show(
        json, found.to_dict(), ("column", "state", "distance", "95 % interval", "q", "n"),
        ((r.column, r.state, f"{abs(r.distance):.3f}", f"{r.low:.3f} to {r.high:.3f}", f"{r.q:.2g}", f"{r.n:,}")
         for r in found.table.itertuples()),
        found.sentence,
    )  # fmt: skip
    states = set(found.table["state"])
    return BREACHED if "changed" in states else FINE if "no clear change" in states else CANNOT_TELL


def _one_column(found: kpi.Drift, json: bool) -> int:
    frames = {name: records(getattr(found, name)) for name in ("distribution", "series", "appeared", "vanished")}
    value = kpi.wording.format_value
    show(
        json, {"column": found.column, "distance": fields(found.distance, "value low high noise n"),
               "sentence": found.sentence, **frames},
        ("value", "now", "baseline"),
        ((r["value"], value(r["now"], "share"), value(r["baseline"], "share")) for r in frames["distribution"]),
        f"{found.sentence} {found.turnover}".strip(),
    )  # fmt: skip
    if not math.isfinite(found.distance.value):
        return CANNOT_TELL
    return BREACHED if found.distance.clear else FINE


@with_slice
def fairness(
    asked: SliceOptions,
    by: Annotated[str, option("--by", "DIM,DIM", "Cohorts, A*B crosses two (default: all that are filled).")] = "",
    metrics: Searched = "",
    adjust: Annotated[str, option("--adjust", "DIM", "Groups are compared within its values as well.")] = "intent",
    json: Json = False,
) -> int:
    """Who is left behind? Gaps between the groups of each cohort, against what equal groups show by chance.

    Exit code 1 where a gap is clear (q at most 0.05), 2 where no two groups are large enough.
    """
    chosen = listed(metrics) or None
    source, looked = asked.ask(metrics=chosen or ())
    cohorts: list[Any] = [tuple(part.split("*")) if "*" in part else part for part in listed(by)]
    found = kpi.disparity(source, looked, by=cohorts or None, metrics=chosen, adjust=adjust)
    gaps = found.gaps.sort_values(["q", "p"], kind="stable")
    words, clear = kpi.wording, 0
    told = []
    for gap in gaps.itertuples():
        if gap.q <= words.CLEAR:
            clear += 1
            told.append(f"{gap.metric} by {gap.dimension}: {words.gap_sentence(gap, found.adjusted_for)}")
            why = kpi.likely(found, gap.dimension, gap.worst, metric=gap.metric)
            told += [f"{why.group}: {why.sentence} Next: {why.action}"] if why else []
    sentence = f"{clear} of {words.format_count(len(gaps), 'gaps')} are more than groups without any difference show."
    plain = {"sentence": sentence, "adjusted_for": found.adjusted_for, "gaps": records(gaps),
             "groups": records(found.groups)}  # fmt: skip
    show(
        json, plain, ("cohort", "metric", "worst", "best", "gap", "95 % interval", "noise", "q", "n"),
        ((g.dimension, g.metric, g.worst, g.best, words.gap_size(g), words.format_interval(g.low, g.high, g.unit),
          words.format_value(g.noise, g.unit), f"{g.q:.2g}", words.format_count(g.n)) for g in gaps.itertuples()),
        sentence,
    )  # fmt: skip
    for line in [] if json else told:
        say(line, indent=2)
    return BREACHED if clear else FINE if len(gaps) else CANNOT_TELL


@with_slice
def latency(
    asked: SliceOptions, by: By = "",
    slo: Annotated[int | None, option("--slo", None, "Milliseconds within which a request should be answered.")] = None,
    json: Json = False,
) -> int:  # fmt: skip
    """Where does the time go? Quantiles, the share within the limit, and what each stage takes.

    Exit code 1 where a KPI of latency is off target, 2 where no latency is known.
    """
    source, looked = asked.ask(metrics=["latency_p95"])
    known, metrics = kpi.profile(source), list[Any]()
    for m in kpi.METRICS.values():
        if m.group == "latency" and known.supports(m):
            metrics.append(kpi.slo_attainment(slo) if slo and m.name == "slo_attainment" else m)
    compared = kpi.resolve(source, looked).compared and bool(metrics)
    stages = kpi.latency_stages(source, looked).to_dict()["parts"] if compared else []
    return _governed(source, looked, metrics, listed(by), json, stages=stages)


@with_slice
def cost(asked: SliceOptions, by: By = "", json: Json = False) -> int:
    """Where does the money go? In all, per query, per answered and per resolved task, and its parts.

    Exit code 1 where a KPI of cost is off target, 2 where no cost is known.
    """
    source, looked = asked.ask(metrics=["cost_per_query"])
    known = kpi.profile(source)
    metrics = [kpi.METRICS[name] for name in (*COST, *PARTS) if known.supports(kpi.METRICS[name])]
    return _governed(source, looked, metrics, listed(by), json)


def _governed(
    source: kpi.Source, looked: kpi.Slice, metrics: Sequence[kpi.Metric], by: list[str], json: bool, **more: Any
) -> int:
    """Numbers of a page with the state of those that are governed; stages as a table of their own."""
    frame = kpi.judge_frame(kpi.summarise(source, metrics, looked, by=by), register=kpi.register_of(source))
    head, rows, plain = told_rows(frame, by)
    states = [kpi.wording.STATES[s].word if s else "" for s in frame["standing"]]
    plain = [{**row, "state": state} for row, state in zip(plain, frame["state"], strict=True)]
    if json:
        print_json({"rows": plain, **more})
    else:
        print_table((*head, "state"), [(*row, state) for row, state in zip(rows, states, strict=True)])
        value, change = kpi.wording.format_value, kpi.wording.format_change
        if stages := more.get("stages"):
            print()
            print_table(("stage", "before", "now", "change"),
                        [(s["label"], value(s["before"], "ms"), value(s["now"], "ms"), change(s["change"], "ms"))
                         for s in stages])  # fmt: skip
    if (frame["state"] == "off_target").any():
        return BREACHED
    return FINE if frame["value"].map(math.isfinite).any() else CANNOT_TELL


@with_slice
def trends(
    asked: SliceOptions, metrics: Annotated[list[str], argument("METRIC", "Metrics.")], by: By = "",
    every: Annotated[Literal["hour", "day", "week", "month"], option("--every", None, "Time bucket.")] = "day",
    json: Json = False,
) -> int:  # fmt: skip
    """How has it been? Metrics by hour, day, week or month: `kpi summarise` with a bucket.

    Exit code 2 where no number can be told.
    """
    return answer(asked, metrics, by, every, json)

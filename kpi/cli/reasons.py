"""What changed and for whom: `kpi findings | segments | compare`."""

from __future__ import annotations

from typing import Annotated, Any

import kpi
from kpi.cli.command import BREACHED, CANNOT_TELL, FINE
from kpi.cli.options import Given, Json, SliceOptions, argument, listed, option, with_slice
from kpi.cli.output import print_json, print_table, say, show

WORSE = ("hidden_regression", "regression")
Searched = Annotated[str, option("--metrics", "M,M", "Metrics to search (default: all that the data holds).")]
PANEL = "Reasons"
COMMANDS = {
    "findings": ("kpi findings --dataset sample",),
    "segments": ("kpi segments escalation_rate --dataset sample --last 90d",),
    "compare": (
        "kpi compare p6 p7 --by prompt_version --dataset sample",
        "kpi compare --metrics task_success,cost_per_query --last 14d --dataset sample",
    ),
}


@with_slice
def findings(asked: SliceOptions, metrics: Searched = "", json: Json = False) -> int:
    """What changed, for whom, since when, who acts; best first.

    Exit code 1 where something got worse, 2 where there is nothing to compare with, or less is known than before.
    """
    source, chosen = asked.open(), listed(metrics) or None
    try:
        told = kpi.story(source, asked.slice(), metrics=chosen)
    except kpi.errors.MetricError:  # what the data lacks is said with its reason
        asked.note(source, asked.slice(), metrics=chosen or ())
        raise
    asked.note(source, told.view, metrics=chosen or ())
    if json:
        print_json(told.to_dict())
    else:
        say(told.sentence)
        words = kpi.wording
        print_table(
            ("kind", "metric", "segment", "version", "since", "change", "95 % interval", "n", "owner"),
            [
                (f.kind.replace("_", " "), f.labels[0],
                 ", ".join(f"{d}={v}" for d, v in f.where.items()) or "everyone", f.version or "–", f.since.isoformat(),
                 words.format_change(f.change, f.unit), words.format_change_interval(f.low, f.high, f.unit),
                 words.format_count(f.n), f.owner or "–")
                for f in told.findings
            ],
        )  # fmt: skip
        for f in told.findings:
            say(f"{f.sentence} Next: {f.action}", indent=2)
    if not told.compared:
        return CANNOT_TELL
    if any(f.kind in WORSE for f in told.findings):
        return BREACHED
    return CANNOT_TELL if any(f.kind == "coverage" and f.change < 0 for f in told.findings) else FINE


@with_slice
def segments(
    asked: SliceOptions,
    metric: Annotated[str, argument("METRIC", "A rate, mean, ratio or incidence.")] = "task_success",
    by: Annotated[Given, option("--by", "DIM,DIM", "Dimensions searched (default: all that are filled).")] = None,
    adjust: Annotated[Given, option("--adjust", "DIM", "Compare within the values of this dimension.")] = None,
    most: Annotated[int, option("--most", None, "Most segments shown.")] = 10,
    json: Json = False,
) -> int:
    """Which segments fail most against the rest, of all values and pairs.

    Exit code 1 where a segment is clearly worse than the rest, 2 where none is large enough.
    """
    source, looked = asked.ask(metrics=[metric])
    dimensions = listed(by) if by else None
    found = kpi.weak_segments(source, looked, metric=metric, adjust=adjust, most=most, dimensions=dimensions)
    words = kpi.wording
    show(
        json, found.to_dict(),
        ("segment", "value", "95 % interval", "vs. rest", "95 % interval", "n", "users", "share of failures", "excess",
         "SliceLine", "q"),
        ((", ".join(f"{d}={v}" for d, v in r.where.items()), words.format_value(r.value, found.unit),
          words.format_interval(r.low, r.high, found.unit), words.format_change(r.difference, found.unit),
          limits(r.difference_low, r.difference_high, found.unit), words.format_count(r.n), words.format_count(r.users),
          words.format_value(r.share_of_failures, "share"), words.format_value(r.excess, found.excess_unit),
          f"{r.sliceline:.2f}", f"{r.q:.2g}")
         for r in found.segments.itertuples()),
        found.sentence,
    )  # fmt: skip
    if not found.looked:
        return CANNOT_TELL
    return BREACHED if len(found.segments) else FINE


@with_slice
def compare(
    asked: SliceOptions,
    a: Annotated[Given, argument("A", "Value of the dimension; without A and B: window and baseline.")] = None,
    b: Annotated[Given, argument("B", "Value of the dimension.")] = None,
    by: Annotated[Given, option("--by", "DIM", "Dimension of A and B, such as prompt_version or model.")] = None,
    metrics: Annotated[str, option("--metrics", "M,M", "Metrics (default: all that the data holds).")] = "",
    adjust: Annotated[
        Given, option("--adjust", "DIM,DIM", 'Dimensions to adjust for (default: intent, language; "" none).')
    ] = None,
    within: Annotated[Given, option("--within", "DIM", "The same comparison in each value of a dimension.")] = None,
    cluster: Annotated[str, option("--cluster", "DIM,DIM", "What repeats instead of the user: the task.")] = "",
    always_valid: Annotated[
        bool, option("--always-valid", None, "A running test: intervals for every day, and the sample ratio.")
    ] = False,
    expected: Annotated[Given, option("--expected", "A:B", "Planned users of A to those of B (default: 1:1).")] = None,
    json: Json = False,
) -> int:
    """Is B better than A? Every metric with interval, q and verdict.

    Exit code 1 where something is worse in B; 2 where the data cannot tell, or the users are not split as planned.
    """
    chosen, clusters = listed(metrics) or None, listed(cluster)
    source, looked = asked.ask(metrics=chosen or ())
    ratio = None
    if always_valid and a is not None and b is not None:
        ratio = _ratio(source, looked, a, b, by, within, expected)
    whole: dict[str, Any]
    checked = {"sample_ratio": ratio.to_dict()} if ratio else {}
    if ratio and not json:
        say(ratio.sentence)
    if within:
        found = kpi.compare_within(source, a, b, chosen, looked, within=within, by=by, always_valid=always_valid,
                                   cluster=clusters)  # fmt: skip
        whole = {**found.to_dict(), **checked}
        rows, sentence, told = whole["rows"], found.sentence, list[str]()
    else:
        compared = kpi.compare(source, a, b, chosen, looked, by=by, adjust=None if adjust is None else listed(adjust),
                               always_valid=always_valid, cluster=clusters)  # fmt: skip
        whole = {**compared.to_dict(), **checked}
        rows, sentence, told = whole["metrics"], compared.sentence, list(compared.reversals)
    if json:
        print_json(whole)
    else:
        _print_compared(rows, sentence, told, within)
    verdicts = {r["verdict"] for r in rows}
    if ratio and ratio.alarm:
        return CANNOT_TELL
    if "worse" in verdicts:
        return BREACHED
    return CANNOT_TELL if "cannot tell" in verdicts or verdicts <= {"not enough data"} else FINE


def _ratio(
    source: kpi.Source, looked: kpi.Slice, a: str, b: str, by: str | None, within: str | None,
    planned: str | None,
) -> kpi.SampleRatio:  # fmt: skip
    """The sample-ratio check of a running test."""
    parts = tuple(_number(v) for v in planned.split(":")) if planned else (1.0, 1.0)
    expected: Any = parts  # any other length than two is refused with its remedy
    return kpi.sample_ratio(source, a, b, looked, by=by, within=within or (), expected=expected)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _print_compared(rows: list[dict[str, Any]], sentence: str, told: list[str], within: str | None) -> None:
    say(sentence)
    words = kpi.wording
    adjusted = any(r["adjusted_verdict"] for r in rows)
    print_table(
        ("metric", *((within,) if within else ()), "A", "B", "difference", "95 % interval", "q", "verdict",
         *(("adjusted",) if adjusted else ()), "minimum detectable effect"),
        [
            (r["label"], *((r[within] or "(none)",) if within else ()), words.format_value(r["a"], r["unit"]),
             words.format_value(r["b"], r["unit"]), words.format_change(r["difference"], r["unit"]),
             limits(r["low"], r["high"], r["unit"]), "–" if r["q"] is None else f"{r['q']:.3g}", r["verdict"],
             *((f"{words.format_change(r['adjusted'], r['unit'])} {r['adjusted_verdict'] or ''}",) if adjusted else ()),
             words.format_change(r["smallest"], r["unit"]).removeprefix("+"))
            for r in rows
        ],
    )  # fmt: skip
    unsure = [] if within else [r["sentence"] for r in rows if r["verdict"] == "cannot tell"]
    for one in (*told, *unsure):
        say(one)


def limits(low: float | None, high: float | None, unit: str) -> str:
    """The interval of a change; "–" where it is unknown."""
    if low is None or high is None or not low <= high:  # NaN is neither
        return "–"
    return kpi.wording.format_change_interval(low, high, unit)

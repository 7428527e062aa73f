"""What a change, a failure and a cost are made of: `kpi decompose | contrast | frontier`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import kpi
from kpi.cli import completion
from kpi.cli.command import BREACHED, CANNOT_TELL, FINE
from kpi.cli.options import Given, Json, SliceOptions, argument, listed, option, with_slice
from kpi.cli.output import print_json, print_table, say, show
from kpi.cli.reasons import limits

PANEL = "Reasons"
_LATENCY = {"latency": None, "latency_p50": 0.5, "latency_p95": 0.95, "latency_p99": 0.99}
COMMANDS = {
    "decompose": (
        "kpi decompose task_success --by language,intent --dataset sample",
        "kpi decompose total_cost --dataset sample",
        "kpi decompose latency_p95 --dataset sample",
    ),
    "contrast": ("kpi contrast --dataset sample --last 90d --most 5",),
    "frontier": ("kpi frontier --by model --target 0.6 --dataset sample",),
}


@with_slice
def decompose(
    asked: SliceOptions,
    metric: Annotated[
        str,
        argument(
            "METRIC",
            "A rate, mean or ratio by --by; total_cost by what it consists of; latency or latency_p95 by stage.",
            completion.decomposable,
        ),
    ],
    by: Annotated[Given, option("--by", "DIM,DIM", "Dimensions, each on its own (default: the usual ones).")] = None,
    json: Json = False,
) -> int:
    """A change split into the parts that sum to it.

    Exit code 2 where the change has no interval that says whether there is one.
    """
    source, looked = asked.ask(metrics=[metric])
    words = kpi.wording
    if metric == "total_cost":
        cost = kpi.cost_waterfall(source, looked)
        steps = ((r.label, words.format_change(r.effect, "usd"), limits(r.low, r.high, "usd"))
                 for r in cost.steps.itertuples())  # fmt: skip
        return show(json, cost.to_dict(), ("part", "change", "95 % interval"), steps, cost.sentence)
    if metric in _LATENCY:
        spent = kpi.latency_stages(source, looked, q=_LATENCY[metric])
        parts = (
            (r.label, words.format_value(r.before, "ms"), words.format_value(r.now, "ms"),
             words.format_change(r.change, "ms"), limits(r.low, r.high, "ms"))
            for r in spent.parts.itertuples()
        )  # fmt: skip
        head = ("stage", "before", "now", "change", "95 % interval")
        return show(json, spent.to_dict(), head, parts, spent.sentence)
    found = kpi.decompose(source, metric, looked, by=by and listed(by))
    if json:
        print_json({"decompositions": [d.to_dict() for d in found]})
    else:
        _print_parts(found)
    return FINE if all(d.change.low < d.change.high for d in found) else CANNOT_TELL


def _print_parts(found: Sequence[kpi.Decomposition]) -> None:
    words = kpi.wording
    for d in found:
        say(d.sentence)
        print_table(
            (d.by, "", "before", "now", "share before", "share now", "rate effect", "mix effect", "total",
             "95 % interval"),
            [
                (r.value, r.kind, words.format_value(r.before, d.unit), words.format_value(r.now, d.unit),
                 words.format_value(r.share_before, "share"), words.format_value(r.share_now, "share"),
                 words.format_change(r.rate, d.unit), words.format_change(r.mix, d.unit),
                 words.format_change(r.effect, d.unit), limits(r.low, r.high, d.unit))
                for r in d.parts.itertuples()
            ],
        )  # fmt: skip
        print()


@with_slice
def contrast(
    asked: SliceOptions,
    outcome: Annotated[Given, option("--outcome", "COLUMN", "What tells them apart (default: success).")] = None,
    most: Annotated[int, option("--most", None, "Most features shown.")] = 30,
    unit: Annotated[
        Literal["request", "session"], option("--unit", None, "What failed: a request, or a session in which one did.")
    ] = "request",
    json: Json = False,
) -> int:
    """What sets failed requests apart from successful ones."""
    source, looked = asked.ask(metrics=["task_success"] if outcome is None else ())
    found = kpi.contrast(source, looked, outcome=outcome, most=most, unit=unit)
    if json:
        print_json(found.to_dict())
        return FINE
    words = kpi.wording
    say(found.sentence)
    print_table(
        ("feature", "of failed", "of successful", "lift", "95 % interval", "q", "failed, for example"),
        [
            (r.trait, words.format_value(r.failed_share, "share"), words.format_value(r.success_share, "share"),
             f"{r.lift:.2f}", f"{r.low:.2f} to {r.high:.2f}", f"{r.q:.3g}", " ".join(r.failed_examples[:1]))
            for r in found.lifts.itertuples()
        ],
    )  # fmt: skip
    if found.tree is not None:
        right = found.tree.accuracy
        interval = f"{right.low:.2f} to {right.high:.2f}; 0.5 = random guessing"
        held = words.format_count(found.tree.held, "requests")
        print()
        say(f"A second opinion, balanced accuracy {right.value:.2f} ({interval}) on {held} of other users:")
        rows = [(words.format_value(r.failed_share, "share"), r.n, r.rule) for r in found.tree.leaves.itertuples()]
        print_table(("failed", "sampled", "where"), rows)
    return FINE


@with_slice
def frontier(
    asked: SliceOptions,
    by: Annotated[str, option("--by", "DIM,DIM", "What the options are.")] = "model",
    target: Annotated[float, option("--target", None, "Of the quality.")] = 0.8,
    quality: Annotated[str, option("--quality", "METRIC", "Quality.")] = "task_success",
    cost: Annotated[
        Given, option("--cost", "METRIC", "Cost (default: cost_per_resolved, else cost_per_query).")
    ] = None,
    json: Json = False,
) -> int:
    """Quality against cost: the cheapest option that meets a target.

    Exit code 0 where an option meets the target, 2 where one may, 1 where none can.
    """
    source, looked = asked.ask(metrics=[quality, *([cost] if cost else [])])
    found = kpi.frontier(source, looked, by=listed(by), target=target, quality=quality, cost=cost)
    words = kpi.wording
    q, c = kpi.metric(found.quality), kpi.metric(found.cost)
    show(
        json, found.to_dict(),
        (" · ".join(found.by), q.label, "95 % interval", c.label, "95 % interval", "n", "target", "efficient"),
        ((r.option, words.format_value(r.quality, q.unit),
          words.format_interval(r.quality_low, r.quality_high, q.unit), words.format_value(r.cost, c.unit),
          words.format_interval(r.cost_low, r.cost_high, c.unit), words.format_count(r.n), r.verdict,
          "yes" if r.efficient else "")
         for r in found.options.itertuples()),
        found.sentence,
    )  # fmt: skip
    if found.choice is not None:
        return FINE
    return BREACHED if (found.options["verdict"] == "misses").all() else CANNOT_TELL

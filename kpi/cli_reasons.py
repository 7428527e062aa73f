"""Commands that say why: `kpi findings` and its kin, wired into `kpi.cli` by `add`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import kpi
from kpi.narrate.wording import (
    format_change,
    format_change_interval,
    format_count,
    format_interval,
    format_value,
)
from kpi.terminal import (
    BREACHED,
    CANNOT_TELL,
    FINE,
    finish,
    print_json,
    print_table,
    printable,
    records,
    say_timeless,
    slice_of,
    slice_options,
)

FINDING = (
    "kind", "metric", "where", "version", "version_of", "since", "change", "low", "high", "q", "n", "state", "owner",
    "action", "link", "sentence", "unit", "value", "was", "also", "mix",
)  # fmt: skip
WORSE = ("hidden_regression", "regression")


def add(commands: Any) -> None:
    """Add the commands of this module to the parser's."""
    findings = commands.add_parser("findings", help="what changed, for whom, since when, who acts; best first")
    slice_options(findings)
    finish(findings, _findings)
    _segments_options(commands)
    _compare_options(commands)
    _split_options(commands)


def _segments_options(commands: Any) -> None:
    segments = commands.add_parser(
        "segments", help="which segments fail most against the rest, of all values and pairs"
    )
    segments.add_argument(
        "metric", nargs="?", default="task_success", metavar="METRIC",
        help="a rate, mean, ratio or incidence (default: %(default)s)",
    )  # fmt: skip
    segments.add_argument("--by", metavar="DIM,DIM", help="dimensions searched (default: all that are filled)")
    segments.add_argument("--adjust", metavar="DIM", help="compare within the values of this dimension")
    segments.add_argument("--most", type=int, default=10, help="most segments shown (default: %(default)s)")
    slice_options(segments)
    finish(segments, _segments)


def _segments(options: argparse.Namespace) -> int:
    """Exit code 1 where a segment is clearly worse than the rest, 2 where none is large enough, else 0."""
    source = kpi.open(options.dataset, options.version)
    say_timeless(source, options)
    found = kpi.weak_segments(
        source, slice_of(options), metric=options.metric, adjust=options.adjust, most=options.most,
        dimensions=_listed(options.by) if options.by else None,
    )  # fmt: skip
    if options.json:
        print_json(found.to_json())
    else:
        print(printable(found.sentence, longest=2000))
        print_table(
            ("segment", "value", "95 % interval", "to the rest", "95 % interval", "n", "users", "of all failures",
             "beyond the rest", "SliceLine", "q"),
            [
                (", ".join(f"{d}={v}" for d, v in r.where.items()), format_value(r.value, found.unit),
                 format_interval(r.low, r.high, found.unit), format_change(r.difference, found.unit),
                 _limits(r.difference_low, r.difference_high, found.unit), format_count(r.n), format_count(r.users),
                 format_value(r.share_of_failures, "share"), format_value(r.excess, found.excess_unit),
                 f"{r.sliceline:.2f}", f"{r.q:.2g}")
                for r in found.frame.itertuples()
            ],
        )  # fmt: skip
    if not found.looked:
        return CANNOT_TELL
    return BREACHED if len(found.frame) else FINE


def _compare_options(commands: Any) -> None:
    compare = commands.add_parser("compare", help="is B better than A? every metric with interval, q and verdict")
    compare.add_argument(
        "a", nargs="?", metavar="A", help="value of the dimension; without A and B: window and baseline"
    )
    compare.add_argument("b", nargs="?", metavar="B")
    compare.add_argument("--by", metavar="DIM", help="dimension of A and B, such as prompt_version or model")
    compare.add_argument("--metrics", default="", metavar="M,M", help="metrics (default: all that the data holds)")
    compare.add_argument(
        "--adjust", metavar="DIM,DIM", help='hold the mix of these (default: intent, language; "" none)'
    )
    compare.add_argument("--within", metavar="DIM", help="the same comparison in each value of a dimension")
    compare.add_argument("--cluster", default="", metavar="DIM,DIM", help="what repeats instead of the user: the task")
    compare.add_argument(
        "--always-valid", action="store_true", help="a running test: intervals for every day, and the sample ratio"
    )
    compare.add_argument("--expected", metavar="A:B", help="planned users of A to those of B (default: 1:1)")
    slice_options(compare)
    finish(compare, _compare)


def _compare(options: argparse.Namespace) -> int:
    """Exit code 1 where something is worse in B, else 0; 2 where the data cannot tell, or the users are not split as
    planned."""
    source = kpi.open(options.dataset, options.version)
    looked = slice_of(options)
    if options.a is not None and not (options.last or options.start or options.end):
        looked = replace(looked, last="all")  # versions seldom serve in the same weeks
    say_timeless(source, options, looked)
    metrics, cluster = _listed(options.metrics) or None, _listed(options.cluster)
    ratio = _ratio(source, looked, options)
    checked = {"sample_ratio": ratio.to_json()} if ratio else {}
    if ratio and not options.json:
        print(printable(ratio.sentence, longest=2000))
    if options.within:
        found = kpi.compare_within(source, options.a, options.b, metrics, looked, within=options.within, by=options.by,
                                   always_valid=options.always_valid, cluster=cluster)  # fmt: skip
        rows = records(found)
        if options.json:
            print_json(
                {"a": options.a, "b": options.b, "by": options.by, "within": options.within, **checked, "rows": rows}
            )
        else:
            _print_compared(rows, options.within)
            for told in dict.fromkeys(r["told"] for r in rows if r["told"]):
                print(printable(told, longest=2000))
    else:
        adjust = None if options.adjust is None else _listed(options.adjust)
        compared = kpi.compare(source, options.a, options.b, metrics, looked, by=options.by, adjust=adjust,
                               always_valid=options.always_valid, cluster=cluster)  # fmt: skip
        rows = compared.to_json()["metrics"]
        if options.json:
            print_json({**compared.to_json(), **checked})
        else:
            print(printable(compared.sentence, longest=2000))
            _print_compared(rows)
            for told in compared.reversals:
                print(printable(told, longest=2000))
    verdicts = {r["verdict"] for r in rows}
    if ratio and ratio.alarm:
        return CANNOT_TELL
    return BREACHED if "worse" in verdicts else CANNOT_TELL if verdicts <= {"not enough data"} else FINE


def _ratio(source: kpi.Source, looked: kpi.Slice, options: argparse.Namespace) -> kpi.SampleRatio | None:
    """The sample-ratio check of a running test; None where none is asked for or windows are compared."""
    if not options.always_valid or options.a is None or options.b is None:
        return None
    parts = tuple(_number(v) for v in options.expected.split(":")) if options.expected else (1.0, 1.0)
    expected: Any = parts  # any other length than two is refused with its remedy
    return kpi.sample_ratio(source, options.a, options.b, looked, by=options.by, within=options.within or (),
                            expected=expected)  # fmt: skip


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _print_compared(rows: list[dict[str, Any]], within: str | None = None) -> None:
    held = any(r["adjusted_verdict"] for r in rows)
    print_table(
        ("metric", *((within,) if within else ()), "A", "B", "difference", "95 % interval", "q", "verdict",
         *(("mix held",) if held else ()), "could show"),
        [
            (r["label"], *((r[within] or "(none)",) if within else ()), format_value(r["a"], r["unit"]),
             format_value(r["b"], r["unit"]), format_change(r["difference"], r["unit"]),
             _limits(r["low"], r["high"], r["unit"]), "–" if r["q"] is None else f"{r['q']:.3g}", r["verdict"],
             *((f"{format_change(r['adjusted'], r['unit'])} {r['adjusted_verdict'] or ''}",) if held else ()),
             format_change(r["smallest"], r["unit"]).removeprefix("+"))
            for r in rows
        ],
    )  # fmt: skip


def _limits(low: float | None, high: float | None, unit: str) -> str:
    if low is None or high is None or not low <= high:  # NaN is neither
        return "–"
    return format_change_interval(low, high, unit)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _findings(options: argparse.Namespace) -> int:
    """Exit code 1 where something got worse, 2 where there is nothing to compare with, else 0."""
    source = kpi.open(options.dataset, options.version)
    windowed = options.last or options.start or options.end or options.vs != "previous"
    looked = slice_of(options) if windowed else kpi.recent(source, slice_of(options))
    say_timeless(source, options, looked)
    told = kpi.story(source, looked)
    if options.json:
        print_json({"findings": [{k: f.to_json()[k] for k in FINDING} for f in told.findings]})
    else:
        print(printable(told.sentence, longest=2000))
        print_table(
            ("kind", "metric", "segment", "version", "since", "change", "95 % interval", "n", "owner"),
            [
                (f.kind.replace("_", " "), kpi.METRICS[f.metric].label,
                 ", ".join(f"{d}={v}" for d, v in f.where.items()) or "everyone", f.version or "–", f.since.isoformat(),
                 format_change(f.change, f.unit), format_change_interval(f.low, f.high, f.unit), format_count(f.n),
                 f.owner or "–")
                for f in told.findings
            ],
        )  # fmt: skip
        for f in told.findings:
            print(f"  {printable(f'{f.sentence} Next: {f.action}', longest=2000)}")
    if not told.compared:
        return CANNOT_TELL
    return BREACHED if any(f.kind in WORSE for f in told.findings) else FINE


def _split_options(commands: Any) -> None:
    decompose = commands.add_parser("decompose", help="a change split into the parts that sum to it")
    decompose.add_argument(
        "metric", metavar="METRIC",
        help="a rate, mean or ratio by --by; total_cost by what it consists of; latency or latency_p95 by stage",
    )  # fmt: skip
    decompose.add_argument("--by", metavar="DIM,DIM", help="dimensions, each on its own (default: the usual ones)")
    slice_options(decompose)
    finish(decompose, _decompose)

    contrast = commands.add_parser("contrast", help="what sets failed requests apart from successful ones")
    contrast.add_argument("--outcome", metavar="COLUMN", help="what tells them apart (default: success)")
    contrast.add_argument("--most", type=int, default=30, help="most traits shown (default: %(default)s)")
    slice_options(contrast)
    finish(contrast, _contrast)

    frontier = commands.add_parser("frontier", help="quality against cost: the cheapest that meets a target")
    frontier.add_argument(
        "--by", default="model", metavar="DIM,DIM", help="what the options are (default: %(default)s)"
    )
    frontier.add_argument("--target", type=float, default=0.8, help="of the quality (default: %(default)s)")
    frontier.add_argument("--quality", default="task_success", metavar="METRIC", help="default: %(default)s")
    frontier.add_argument("--cost", metavar="METRIC", help="default: cost_per_resolved, else cost_per_query")
    slice_options(frontier)
    finish(frontier, _frontier)


def _decompose(options: argparse.Namespace) -> int:
    """Exit code 2 where the change has no interval that says whether there is one, else 0."""
    source = kpi.open(options.dataset, options.version)
    say_timeless(source, options)
    if options.metric == "total_cost":
        cost = kpi.cost_waterfall(source, slice_of(options))
        steps = [
            (r.label, format_change(r.effect, "usd"), _limits(r.low, r.high, "usd")) for r in cost.steps.itertuples()
        ]
        return _print_steps(cost.to_json(), ("part", "change", "95 % interval"), steps, options)
    if options.metric in _LATENCY:
        spent = kpi.latency_stages(source, slice_of(options), q=_LATENCY[options.metric])
        rows = [
            (r.label, format_value(r.before, "ms"), format_value(r.now, "ms"), format_change(r.change, "ms"),
             _limits(r.low, r.high, "ms"))
            for r in spent.parts.itertuples()
        ]  # fmt: skip
        return _print_steps(spent.to_json(), ("stage", "before", "now", "change", "95 % interval"), rows, options)
    found = kpi.decompose(source, options.metric, slice_of(options), by=options.by and _listed(options.by))
    if options.json:
        print_json({"decompositions": [d.to_json() for d in found]})
    else:
        _print_split(found)
    return FINE if all(d.change.low < d.change.high for d in found) else CANNOT_TELL


def _print_split(found: Sequence[kpi.Decomposition]) -> None:
    for d in found:
        print(printable(d.sentence, longest=2000))
        print_table(
            (printable(d.by), "", "before", "now", "share before", "share now", "rate effect", "mix effect", "in all",
             "95 % interval"),
            [
                (r.value, r.kind, format_value(r.before, d.unit), format_value(r.now, d.unit),
                 format_value(r.share_before, "share"), format_value(r.share_now, "share"),
                 format_change(r.rate, d.unit), format_change(r.mix, d.unit), format_change(r.effect, d.unit),
                 _limits(r.low, r.high, d.unit))
                for r in d.parts.itertuples()
            ],
        )  # fmt: skip
        print()


_LATENCY = {"latency": None, "latency_p50": 0.5, "latency_p95": 0.95, "latency_p99": 0.99}


def _print_steps(
    plain: dict[str, Any], head: Sequence[str], rows: Sequence[tuple[str, ...]], options: argparse.Namespace
) -> int:
    if options.json:
        print_json(plain)
        return FINE
    print(printable(plain["sentence"], longest=2000))
    print_table(head, rows)
    return FINE


def _contrast(options: argparse.Namespace) -> int:
    source = kpi.open(options.dataset, options.version)
    say_timeless(source, options)
    found = kpi.contrast(source, slice_of(options), outcome=options.outcome, most=options.most)
    if options.json:
        print_json(found.to_json())
        return FINE
    print(printable(found.sentence, longest=2000))
    print_table(
        ("trait", "of failed", "of successful", "lift", "95 % interval", "q", "failed, for example"),
        [
            (r.trait, format_value(r.failed_share, "share"), format_value(r.success_share, "share"), f"{r.lift:.2f}",
             f"{r.low:.2f} to {r.high:.2f}", f"{r.q:.3g}", " ".join(r.failed_examples[:1]))
            for r in found.lifts.itertuples()
        ],
    )  # fmt: skip
    if found.tree is not None:
        right = found.tree.accuracy
        limits = f"{right.low:.2f} to {right.high:.2f}; 0.5 is a coin"
        held = format_count(found.tree.held, "requests")
        print(f"\nA second opinion, balanced accuracy {right.value:.2f} ({limits}) on {held} of other users:")
        rows = [(format_value(r.failed_share, "share"), r.n, r.rule) for r in found.tree.leaves.itertuples()]
        print_table(("failed", "sampled", "where"), rows)
    return FINE


def _frontier(options: argparse.Namespace) -> int:
    """Exit code 0 where an option meets the target, 2 where one may, 1 where none can."""
    source = kpi.open(options.dataset, options.version)
    say_timeless(source, options)
    found = kpi.frontier(source, slice_of(options), by=_listed(options.by), target=options.target,
                         quality=options.quality, cost=options.cost)  # fmt: skip
    if options.json:
        print_json(found.to_json())
    else:
        quality, cost = kpi.metric(found.quality), kpi.metric(found.cost)
        print(printable(found.sentence, longest=2000))
        print_table(
            (printable(" · ".join(found.by)), quality.label, "95 % interval", cost.label, "95 % interval", "n",
             "target", "efficient"),
            [
                (r.option, format_value(r.quality, quality.unit),
                 format_interval(r.quality_low, r.quality_high, quality.unit), format_value(r.cost, cost.unit),
                 format_interval(r.cost_low, r.cost_high, cost.unit), format_count(r.n), r.verdict,
                 "yes" if r.efficient else "")
                for r in found.options.itertuples()
            ],
        )  # fmt: skip
    if found.choice is not None:
        return FINE
    return BREACHED if (found.options["verdict"] == "misses").all() else CANNOT_TELL

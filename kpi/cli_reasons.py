"""Commands that say why: `kpi findings` and its kin, wired into `kpi.cli` by `add`."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import kpi
from kpi.measure.wording import format_change, format_change_interval, format_count, format_value
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

WORSE = ("hidden_regression", "regression")


def add(commands: Any) -> None:
    """Add the commands of this module to the parser's."""
    findings = commands.add_parser("findings", help="what changed, for whom, since when, who acts; best first")
    slice_options(findings)
    finish(findings, _findings)
    _compare_options(commands)


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
    compare.add_argument("--always-valid", action="store_true", help="intervals that may be looked at every day")
    slice_options(compare)
    finish(compare, _compare)


def _compare(options: argparse.Namespace) -> int:
    """Exit code 1 where something is worse in B, 2 where the data cannot tell about any metric, else 0."""
    source = kpi.open(options.dataset, options.version)
    say_timeless(source, options)
    looked = slice_of(options)
    if options.a is not None and not (options.last or options.start or options.end):
        looked = replace(looked, last="all")  # versions seldom serve in the same weeks
    metrics, cluster = _listed(options.metrics) or None, _listed(options.cluster)
    if options.within:
        found = kpi.compare_within(source, options.a, options.b, metrics, looked, within=options.within, by=options.by,
                                   cluster=cluster)  # fmt: skip
        rows = records(found)
        if options.json:
            print_json({"a": options.a, "b": options.b, "by": options.by, "within": options.within, "rows": rows})
        else:
            _print_compared(rows, options.within)
    else:
        adjust = None if options.adjust is None else _listed(options.adjust)
        compared = kpi.compare(source, options.a, options.b, metrics, looked, by=options.by, adjust=adjust,
                               always_valid=options.always_valid, cluster=cluster)  # fmt: skip
        rows = compared.to_json()["metrics"]
        if options.json:
            print_json(compared.to_json())
        else:
            print(printable(compared.sentence, longest=2000))
            _print_compared(rows)
    verdicts = {r["verdict"] for r in rows}
    return BREACHED if "worse" in verdicts else CANNOT_TELL if verdicts <= {"not enough data"} else FINE


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
    return "–" if low is None or high is None else format_change_interval(low, high, unit)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _findings(options: argparse.Namespace) -> int:
    """Exit code 1 where something got worse, 2 where there is nothing to compare with, else 0."""
    source = kpi.open(options.dataset, options.version)
    windowed = options.last or options.start or options.end or options.vs != "previous"
    told = kpi.story(source, slice_of(options) if windowed else kpi.recent(source, slice_of(options)))
    if options.json:
        print_json({"findings": [f.to_json() for f in told.findings]})
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

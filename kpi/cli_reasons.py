"""Commands that say why: `kpi findings` and its kin, wired into `kpi.cli` by `add`."""

from __future__ import annotations

import argparse
from typing import Any

import kpi
from kpi.measure.wording import format_change, format_change_interval, format_count
from kpi.terminal import (
    BREACHED,
    CANNOT_TELL,
    FINE,
    finish,
    print_json,
    print_table,
    printable,
    slice_of,
    slice_options,
)

WORSE = ("hidden_regression", "regression")


def add(commands: Any) -> None:
    """Add the commands of this module to the parser's."""
    findings = commands.add_parser("findings", help="what changed, for whom, since when, who acts; best first")
    slice_options(findings)
    finish(findings, _findings)


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

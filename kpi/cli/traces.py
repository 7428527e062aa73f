"""Single requests: `kpi traces | trace`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import kpi
from kpi.cli.command import FINE
from kpi.cli.options import Dataset, Json, SliceOptions, Version, argument, option, with_slice
from kpi.cli.output import cell, print_json, print_table, records, say, show

Sort = Literal["recent", "cost", "latency", "failed", "incident"]
_SHOWN = ("name", "value", "label", "source", "error_type", "category", "severity", "detector")


PANEL = "Traces"
COMMANDS = {
    "traces": (
        "kpi traces --dataset sample --where channel=api --sort cost --limit 5",
        "kpi traces --dataset sample --condition 'cost > 0.05 and tool_errors > 0'",
    ),
    "trace": ("kpi trace 4bf92f3577b34da6a3ce929d0e0e4736 --dataset sample",),
}


@with_slice
def traces(
    asked: SliceOptions, text: Annotated[str, option("--text", None, "Part of an id, input or output.")] = "",
    condition: Annotated[str, option("--condition", "TEST", "Tests joined by and, or, not: docs/conditions.md.")] = "",
    sort: Annotated[Sort, option("--sort", None, "What comes first.")] = "recent",
    limit: Annotated[int, option("--limit", None, "Most requests.")] = 20, json: Json = False,
) -> int:  # fmt: skip
    """Find requests of a slice."""
    import pandas as pd

    source, looked = asked.ask()
    found = kpi.find_traces(source, looked, text=text, condition=condition, sort=sort, limit=limit)
    value = kpi.wording.format_value
    return show(
        json, {"matching": found.attrs["matching"], "traces": records(found)},
        ("trace", "started", "intent", "outcome", "cost", "latency", "model"),
        ((r.trace_id, "–" if pd.isna(r.started_at) else f"{r.started_at:%Y-%m-%d %H:%M}", r.intent or "–", _outcome(r),
          value(r.cost_usd, "usd"), value(r.latency_ms, "ms"), r.model or "–")
         for r in found.itertuples()),
        f"Matching: {kpi.wording.format_count(found.attrs['matching'], 'requests')}.",
    )  # fmt: skip


def _outcome(row: Any) -> str:
    if row.error is True:
        return "error"
    return {True: "success", False: "failed"}.get(row.success, "unknown")


def trace(
    id: Annotated[str, argument("ID", "Of the request, as kpi traces lists it.")],
    dataset: Dataset = "default", version: Version = None, json: Json = False,
) -> int:  # fmt: skip
    """One request with its spans, documents, tool calls and scores."""
    found = kpi.trace(kpi.open(dataset, version), id)
    if json:
        print_json(found.to_dict())
        return FINE
    _print_request(found)
    _print_spans(found)
    for name in ("tool_calls", "scores", "incidents"):
        frame = getattr(found, name)
        if len(frame):
            print()
            say(name.replace("_", " "))
            shown = [c for c in _SHOWN if c in frame]
            print_table(shown, [tuple(cell(v) for v in row) for row in frame[shown].itertuples(index=False)])
    return FINE


def _print_request(found: kpi.Trace) -> None:
    r, value = found.request, kpi.wording.format_value
    say(f"{r['trace_id']}  {r.get('started_at') or ''}", longest=120)
    say(found.why, longest=400)
    spent = {k: value(v * s if v is not None else None, u) for k, v, s, u in (
        ("cost", r.get("total_nusd"), 1e-9, "usd"), ("latency", r.get("total_us"), 1e-3, "ms"))}  # fmt: skip
    versions = f"model {r.get('model') or '–'}, prompt {r.get('prompt_version') or '–'}"
    say(f"cost {spent['cost']}, latency {spent['latency']}, {versions}", longest=400)
    print()


def _print_spans(found: kpi.Trace) -> None:
    import pandas as pd

    value = kpi.wording.format_value
    rows = [
        ("  " * s.depth + (s.name or s.kind), s.kind, value(s.offset_ms, "ms"), value(s.duration_ms, "ms"),
         "unknown" if pd.isna(s.status) else s.status if s.status != "ok" else "", "*" if s.critical else "")
        for s in found.spans.itertuples()
    ]  # fmt: skip
    print_table(("span", "kind", "starts", "takes", "status", "critical"), rows)

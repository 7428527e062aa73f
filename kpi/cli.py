"""The command line: `kpi load | datasets | doctor | metrics | scorecard | summarise | reliability | traces | trace`.

Every command prints a table a person likes to read, or with --json stable keys for scripts. Exit codes: 0 fine, 1 a
limit is breached, 2 cannot tell, 3 bad usage or bad data.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

import kpi
from kpi import cli_doctor, cli_key, cli_reasons
from kpi.measure.traces import SORTS
from kpi.narrate.wording import STATES, format_count, format_interval, format_value, receipt_sentences
from kpi.terminal import (
    BAD,
    BREACHED,
    CANNOT_TELL,
    FINE,
    Parser,
    cell,
    day,
    finish,
    moment,
    print_json,
    print_table,
    printable,
    progress,
    records,
    say_timeless,
    slice_of,
    slice_options,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except kpi.errors.KpiError as error:
        if getattr(options, "json", False):
            print_json({"error": {"code": error.code, "message": error.message, "hint": error.hint, "row": error.row}})
        print(f"kpi: {printable(str(error), longest=2000)}", file=sys.stderr)
        return BAD
    except BrokenPipeError:
        return FINE


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="kpi", description="The AI index on the command line.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    load = commands.add_parser("load", help="load trace exports or tables into a data set")
    load.add_argument("files", nargs="+", type=Path, metavar="FILE", help="exports, archives or folders")
    load.add_argument("--dataset", default="default", help="data set to load into (default: %(default)s)")
    load.add_argument("--mapping", type=Path, help="column mapping, as saved by an earlier load")
    load.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="NAME",
        help="column or metadata key to keep as well; may be repeated",
    )
    finish(load, _load)

    copy = commands.add_parser("copy", help="copy what is new in a named database of a vendor into a data set")
    copy.add_argument("connection", metavar="CONNECTION", help="a name that `kpi connections` lists")
    copy.add_argument("--dataset", default="default", help="data set to copy into (default: %(default)s)")
    copy.add_argument("--since", metavar="TIME", help="leave out what began before, ISO 8601")
    copy.add_argument("--full", action="store_true", help="read everything again, not only what is new")
    copy.add_argument(
        "--format", metavar="VENDOR", help="phoenix, mlflow, litellm or langfuse, where there are several"
    )
    copy.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="NAME",
        help="column or metadata key to keep as well; may be repeated",
    )
    finish(copy, _copy)

    _prices_options(commands)
    finish(commands.add_parser("datasets", help="list data sets"), _datasets)
    versions = commands.add_parser("versions", help="list the versions of a data set")
    versions.add_argument("--dataset", default="default")
    finish(versions, _versions)
    cli_doctor.add(commands)
    finish(commands.add_parser("connections", help="list databases that the administrator has named"), _connections)
    connect = commands.add_parser("connect", help="check a table of a named database and use it as --dataset db:NAME")
    connect.add_argument("name", metavar="NAME", help="connection, as `kpi connections` lists it")
    connect.add_argument("--table", required=True, help="table or view with one row a request; may name its schema")
    connect.add_argument("--mapping", type=Path, help="what its columns mean (default: canonical names, else guessed)")
    finish(connect, _connect)
    finish(commands.add_parser("metrics", help="list metrics with unit and definition"), _metrics)

    score = commands.add_parser("scorecard", help="every governed KPI with state, change, owner and next step")
    score.add_argument("--register", type=Path, help="register of KPIs (TOML) to use instead of the built-in one")
    slice_options(score)
    finish(score, _scorecard)

    summarise = commands.add_parser("summarise", help="metrics by dimension and time")
    summarise.add_argument("metrics", nargs="+", metavar="METRIC")
    summarise.add_argument("--by", default="", metavar="DIM,DIM", help="dimensions to group by")
    summarise.add_argument("--every", choices=("hour", "day", "week", "month"), help="time bucket")
    slice_options(summarise)
    finish(summarise, _summarise)

    reliability = commands.add_parser("reliability", help="pass^k: share of tasks solved in each of k tries")
    reliability.add_argument("--by", default="task", metavar="DIM,DIM", help="what a task is (default: %(default)s)")
    reliability.add_argument("-k", type=int, default=4, help="most tries (default: %(default)s)")
    slice_options(reliability)
    finish(reliability, _reliability)

    cli_reasons.add(commands)
    cli_key.add(commands)
    traces = commands.add_parser("traces", help="find requests of a slice")
    traces.add_argument("--text", default="", help="part of an id, input or output")
    traces.add_argument("--sort", choices=SORTS, default="recent")
    traces.add_argument("--limit", type=int, default=20)
    slice_options(traces)
    finish(traces, _traces)

    trace = commands.add_parser("trace", help="one request with its spans, documents, tool calls and scores")
    trace.add_argument("id", metavar="ID")
    trace.add_argument("--dataset", default="default")
    trace.add_argument("--version", type=int, help="stored version (default: the newest)")
    finish(trace, _trace)
    return parser


def _prices_options(commands: Any) -> None:
    prices = commands.add_parser("prices", help="list the models of a data set with their price, or begin a price file")
    prices.add_argument("dataset", nargs="?", default="default", metavar="DATASET")
    prices.add_argument("--init", action="store_true", help="write a commented prices.toml into the state folder")
    finish(prices, _prices)
    reprice = commands.add_parser("reprice", help="compute the costs of a data set again, after prices changed")
    reprice.add_argument("dataset", nargs="?", default="default", metavar="DATASET")
    finish(reprice, _reprice)


def _load(options: argparse.Namespace) -> int:
    mapping = kpi.Mapping.load(options.mapping) if options.mapping else None
    receipt = kpi.load(
        options.files, dataset=options.dataset, mapping=mapping, allow=options.allow, progress=progress()
    )
    return _receipt(receipt, options)


def _copy(options: argparse.Namespace) -> int:
    receipt = kpi.copy(
        options.connection, dataset=options.dataset, since=options.since, full=options.full, format=options.format,
        allow=options.allow, progress=progress(),
    )  # fmt: skip
    return _receipt(receipt, options)


def _receipt(receipt: kpi.Receipt, options: argparse.Namespace) -> int:
    if options.json:
        print_json(
            {
                "dataset": receipt.dataset,
                "version": receipt.version,
                "format": receipt.format,
                "files": receipt.files,
                "requests": receipt.requests,
                "spans": receipt.spans,
                "loaded": receipt.loaded,
                "repeated": receipt.repeated,
                "dropped": receipt.dropped,
                "unmapped": receipt.unmapped,
                "unpriced": receipt.unpriced,
                "unpriced_models": receipt.unpriced_models,
                "prices": receipt.prices,
                "from": moment(receipt.first),
                "to": moment(receipt.last),
                "notes": receipt.notes,
                "columns": [
                    {"source": c.source, "field": c.field, "how": c.how, "unit": c.unit} for c in receipt.columns
                ],
                "drops": [{"row": d.row, "reason": d.reason, "hint": d.hint, "file": d.file} for d in receipt.drops],
                "kept_out": receipt.kept_out,
                "missing": receipt.missing,
            }
        )
        return FINE
    for sentence in receipt_sentences(receipt):
        print(f"  {printable(sentence, longest=2000)}")
    if receipt.columns:
        rows = [
            (c.source, c.field or "–", "kept out" if c.kept_out else c.how, c.unit, c.note) for c in receipt.columns
        ]
        print_table(("column", "read as", "how", "unit", "note"), rows)
    for drop in receipt.drops[:20]:
        print(f"  row {drop.row}: {printable(f'{drop.reason}. {drop.hint}', longest=400)}")
    return FINE


def _prices(options: argparse.Namespace) -> int:
    if options.init:
        path = kpi.init_prices()
        if options.json:
            print_json({"path": path})
        else:
            print(f"Written: {printable(path, longest=1000)}. Add prices there, then: kpi reprice DATASET")
        return FINE
    found = kpi.model_prices(kpi.open(options.dataset))
    state = kpi.price_state()
    if options.json:
        print_json({"version": state.version, "day": state.day, "units": state.units, "models": records(found)})
        return FINE
    print(f"Price table {state.version} of {state.day}, {state.own} rows of your own. USD per million tokens.")
    print_table(
        ("model", "provider", "requests", "unpriced", "input", "cached", "output", "source"),
        [
            (r.model, r.provider or "–", format_count(r.requests), format_count(r.unpriced),
             *(format_value(v, "usd") for v in (r.input_usd, r.cached_usd, r.output_usd)), r.source or "no price")
            for r in found.itertuples()
        ],
    )  # fmt: skip
    return FINE


def _reprice(options: argparse.Namespace) -> int:
    receipt = kpi.reprice(options.dataset, progress=progress())
    if options.json:
        print_json({
            "dataset": receipt.dataset, "version": receipt.version, "requests": receipt.requests,
            "changed": receipt.loaded, "unpriced": receipt.unpriced, "unpriced_models": receipt.unpriced_models,
            "prices": receipt.prices,
        })  # fmt: skip
        return FINE
    for sentence in receipt_sentences(receipt):
        print(f"  {printable(sentence, longest=2000)}")
    return FINE


def _datasets(options: argparse.Namespace) -> int:
    found = kpi.datasets()
    if options.json:
        print_json({"datasets": [
            {"name": d.name, "version": d.version, "requests": d.requests, "spans": d.spans, "from": moment(d.first),
             "to": moment(d.last), "loaded_at": d.loaded_at, "bytes": d.bytes}
            for d in found
        ]})  # fmt: skip
        return FINE
    if not found:
        print("No data set yet. Load one: kpi load FILE --dataset NAME")
        return FINE
    rows = [
        (
            d.name,
            d.version,
            format_count(d.requests),
            format_count(d.spans),
            day(d.first),
            day(d.last),
            d.loaded_at[:16],
        )
        for d in found
    ]
    print_table(("data set", "version", "requests", "spans", "first", "last", "loaded"), rows)
    return FINE


def _versions(options: argparse.Namespace) -> int:
    found = kpi.versions(options.dataset)
    if options.json:
        print_json({"versions": [
            {"number": v.number, "created_at": v.created_at, "fingerprint": v.fingerprint, "requests": v.requests,
             "spans": v.spans, "loaded": v.loaded, "origin": v.origin}
            for v in found
        ]})  # fmt: skip
        return FINE
    rows = [
        (v.number, v.created_at[:16], format_count(v.requests), format_count(v.loaded), v.fingerprint) for v in found
    ]
    print_table(("version", "created", "requests", "loaded", "fingerprint"), rows)
    return FINE


def _connections(options: argparse.Namespace) -> int:
    found = kpi.connections()
    if options.json:
        keys = ("name", "dialect", "description", "table", "problem")
        print_json({"connections": [{k: getattr(c, k) for k in keys} for c in found]})
        return FINE
    if not found:
        print("No connection yet. An administrator names them in .streamlit/secrets.toml or in KPI_CONNECTION_NAME.")
        return FINE
    rows = [(c.name, f"db:{c.name}", c.description, c.table, c.problem or "none") for c in found]
    print_table(("connection", "data set", "database", "table", "problem"), rows)
    return FINE


def _connect(options: argparse.Namespace) -> int:
    mapping = kpi.Mapping.load(options.mapping) if options.mapping else None
    place = kpi.connect(options.name, table=options.table, mapping=mapping)
    columns = place.mapping.columns if place.mapping else ()
    if options.json:
        listed = [{"source": c.source, "field": c.field, "how": c.how, "unit": c.unit} for c in columns]
        print_json({"dataset": f"db:{options.name}", "table": place.table, "columns": listed})
        return FINE
    if columns:
        print_table(
            ("column", "read as", "how", "unit", "note"),
            [(c.source, c.field or "–", "kept out" if c.kept_out else c.how, c.unit, c.why) for c in columns],
        )
    else:
        print("The table has canonical columns and is used as it is.")
    print(f"Saved. Use it as --dataset db:{options.name}, or choose it in the app.")
    return FINE


def _metrics(options: argparse.Namespace) -> int:
    found = kpi.METRICS.values()
    if options.json:
        print_json({"metrics": [
            {"name": m.name, "label": m.label, "unit": m.unit, "direction": m.direction, "definition": m.definition,
             "formula": m.formula, "null_rule": m.null_rule, "interval": m.interval, "min_n": m.min_n}
            for m in found
        ]})  # fmt: skip
        return FINE
    print_table(
        ("metric", "unit", "better", "definition"), [(m.name, m.unit, m.direction, m.definition) for m in found]
    )
    return FINE


def _scorecard(options: argparse.Namespace) -> int:
    register = kpi.load_register(options.register) if options.register else None
    source = kpi.open(options.dataset, options.version)
    say_timeless(source, options)
    card = kpi.scorecard(source, slice_of(options), register=register)
    if options.json:
        print_json(card.to_json())
    else:
        print(printable(card.sentence, longest=2000))
        index = card.index
        if math.isfinite(index.value):
            print(
                f"Index {index.value:.0f} ({index.low:.0f} to {index.high:.0f}) from {index.n} of {index.total} KPIs\n"
            )
        print_table(
            ("KPI", "value", "95 % interval", "n", "change", "target", "state", "owner"),
            [
                (c.label, format_value(c.value, c.unit), format_interval(c.low, c.high, c.unit), format_count(c.n),
                 c.change.words if c.change else "–", format_value(c.target, c.unit), STATES[c.state].word, c.owner)
                for c in card.cards
            ],
        )  # fmt: skip
        for c in card.cards:
            if c.state != "on_target":
                print(f"  {printable(f'{c.label}: {c.reason} Next: {c.action}', longest=2000)}")
    if card.state == "off_target":
        return BREACHED
    return CANNOT_TELL if any(c.state == "no_data" for c in card.cards) else FINE


def _summarise(options: argparse.Namespace) -> int:
    by = [d for d in options.by.split(",") if d]
    source = kpi.open(options.dataset, options.version)
    say_timeless(source, options)
    found = kpi.summarise(source, options.metrics, slice_of(options), by=by, every=options.every)
    rows = found.to_dict("records")
    if options.json:
        print_json(
            {
                "rows": [
                    {
                        "metric": r["metric"],
                        "by": {d: r[d] for d in by},
                        "bucket": None if pd.isna(r["bucket"]) else r["bucket"].isoformat(),
                        "value": r["value"],
                        "low": r["low"],
                        "high": r["high"],
                        "n": r["n"],
                        "unit": r["unit"],
                    }
                    for r in rows
                ]
            }
        )
    else:
        print_table(
            ("metric", *by, *(("from",) if options.every else ()), "value", "95 % interval", "n"),
            [
                (
                    r["metric"],
                    *(r[d] if r[d] is not None else "(none)" for d in by),
                    *((f"{r['bucket']:%Y-%m-%d %H:%M}",) if options.every else ()),
                    format_value(r["value"], r["unit"]),
                    format_interval(r["low"], r["high"], r["unit"]),
                    format_count(r["n"]),
                )
                for r in rows
            ],
        )
    return FINE if any(math.isfinite(r["value"]) for r in rows) else CANNOT_TELL


def _reliability(options: argparse.Namespace) -> int:
    source = kpi.open(options.dataset, options.version)
    say_timeless(source, options)
    found = kpi.pass_hat_k(source, slice_of(options), by=[d for d in options.by.split(",") if d], k=options.k)
    rows = found.to_dict("records")
    if options.json:
        print_json({"rows": rows})
    else:
        print_table(
            ("tries", "solved in each", "95 % interval", "tasks", "requests"),
            [
                (r["k"], format_value(r["value"], "share"), format_interval(r["low"], r["high"], "share"),
                 format_count(r["n_tasks"]), format_count(r["trials"]))
                for r in rows
            ],
        )  # fmt: skip
    return FINE if any(math.isfinite(r["value"]) for r in rows) else CANNOT_TELL


def _traces(options: argparse.Namespace) -> int:
    source = kpi.open(options.dataset, options.version)
    say_timeless(source, options)
    found = kpi.find_traces(source, slice_of(options), text=options.text, sort=options.sort, limit=options.limit)
    if options.json:
        print_json({"traces": records(found)})
        return FINE
    rows = [
        (
            r.trace_id,
            f"{r.started_at:%Y-%m-%d %H:%M}" if not pd.isna(r.started_at) else "–",
            r.intent or "–",
            _outcome(r),
            format_value(r.cost_usd, "usd"),
            format_value(r.latency_ms, "ms"),
            r.model or "–",
        )
        for r in found.itertuples()
    ]
    print_table(("trace", "started", "intent", "outcome", "cost", "latency", "model"), rows)
    return FINE


def _outcome(row: Any) -> str:
    if row.error is True:
        return "error"
    return {True: "success", False: "failed"}.get(row.success, "unknown")


def _trace(options: argparse.Namespace) -> int:
    found = kpi.trace(kpi.open(options.dataset, options.version), options.id)
    if options.json:
        request = {k: (v.isoformat() if hasattr(v, "isoformat") else v) for k, v in found.request.items()}
        parts = {n: records(getattr(found, n)) for n in ("spans", "documents", "tool_calls", "scores", "incidents")}
        print_json({"request": request, "why": found.why, **parts})
        return FINE
    r = found.request
    print(printable(f"{r['trace_id']}  {r.get('started_at') or ''}"))
    print(printable(found.why, longest=400))
    spent = {k: format_value(v * s if v is not None else None, u) for k, v, s, u in (
        ("cost", r.get("total_nusd"), 1e-9, "usd"), ("latency", r.get("total_us"), 1e-3, "ms"))}  # fmt: skip
    versions = f"model {r.get('model') or '–'}, prompt {r.get('prompt_version') or '–'}"
    print(printable(f"cost {spent['cost']}, latency {spent['latency']}, {versions}", longest=400) + "\n")
    rows = [
        (
            "  " * s.depth + (s.name or s.kind),
            s.kind,
            format_value(s.offset_ms, "ms"),
            format_value(s.duration_ms, "ms"),
            "unknown" if pd.isna(s.status) else s.status if s.status != "ok" else "",
            "*" if s.critical else "",
        )
        for s in found.spans.itertuples()
    ]
    print_table(("span", "kind", "starts", "takes", "status", "critical"), rows)
    for name in ("tool_calls", "scores", "incidents"):
        frame = getattr(found, name)
        if len(frame):
            print(f"\n{name.replace('_', ' ')}")
            shown = [
                c
                for c in ("name", "value", "label", "source", "error_type", "category", "severity", "detector")
                if c in frame
            ]
            print_table(shown, [tuple(cell(v) for v in row) for row in frame[shown].itertuples(index=False)])
    return FINE


if __name__ == "__main__":
    raise SystemExit(main())

"""Data sets and databases: `kpi datasets | versions | doctor | connections | connect`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

import kpi
from kpi.cli import completion
from kpi.cli.command import BREACHED, FINE, add
from kpi.cli.options import GivenDataset, Json, MappingFile, NamedDataset, chosen
from kpi.cli.output import day, moment, print_json, print_table, progress, say

_MOST = 50  # sentences for a person; --json has all of them


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    panel = "Data sets and databases"
    add(app, "datasets", datasets, "kpi datasets", panel=panel)
    add(app, "versions", versions, "kpi versions --dataset sample", panel=panel)
    add(app, "doctor", doctor, "kpi doctor --dataset sample", "kpi doctor --dataset sample --repair", panel=panel)
    add(app, "connections", connections, "kpi connections", panel=panel)
    add(app, "connect", connect, "kpi connect shop --table calls --mapping mapping.toml", panel=panel)


def datasets(json: Json = False) -> int:
    """List data sets."""
    found = kpi.datasets()
    if json:
        print_json({"datasets": [
            {"name": d.name, "version": d.version, "requests": d.requests, "spans": d.spans, "from": moment(d.first),
             "to": moment(d.last), "loaded_at": d.loaded_at, "bytes": d.bytes}
            for d in found
        ]})  # fmt: skip
        return FINE
    if not found:
        say("No data set yet. Load one: kpi load FILE --dataset NAME")
        return FINE
    count = kpi.wording.format_count
    rows = [
        (d.name, d.version, count(d.requests), count(d.spans), day(d.first), day(d.last), d.loaded_at[:16])
        for d in found
    ]
    print_table(("data set", "version", "requests", "spans", "first", "last", "loaded"), rows)
    return FINE


def versions(given: GivenDataset = None, dataset: NamedDataset = None, json: Json = False) -> int:
    """List the versions of a data set."""
    found = kpi.versions(chosen(given, dataset))
    if json:
        print_json({"versions": [
            {"number": v.number, "created_at": v.created_at, "fingerprint": v.fingerprint, "requests": v.requests,
             "spans": v.spans, "loaded": v.loaded, "origin": v.origin}
            for v in found
        ]})  # fmt: skip
        return FINE
    count = kpi.wording.format_count
    rows = [(v.number, v.created_at[:16], count(v.requests), count(v.loaded), v.fingerprint) for v in found]
    print_table(("version", "created", "requests", "loaded", "fingerprint"), rows)
    return FINE


def connections(json: Json = False) -> int:
    """List databases that the administrator has named."""
    found = kpi.connections()
    if json:
        keys = ("name", "dialect", "description", "table", "problem")
        print_json({"connections": [{k: getattr(c, k) for k in keys} for c in found]})
        return FINE
    if not found:
        say("No connection yet. An administrator names them in .streamlit/secrets.toml or in KPI_CONNECTION_NAME.")
        return FINE
    rows = [(c.name, f"db:{c.name}", c.description, c.table, c.problem or "none") for c in found]
    print_table(("connection", "data set", "database", "table", "problem"), rows)
    return FINE


def connect(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Connection, as kpi connections lists it.", autocompletion=completion.connections
        ),
    ],
    table: Annotated[str, typer.Option("--table", help="Table or view with one row a request; may name its schema.")],
    mapping: MappingFile = None,
    json: Json = False,
) -> int:
    """Check a table of a named database and use it as --dataset db:NAME.

    Without --mapping its columns have canonical names or are guessed.
    """
    place = kpi.connect(name, table=table, mapping=kpi.Mapping.load(mapping) if mapping else None)
    columns = place.mapping.columns if place.mapping else ()
    if json:
        found = [{"source": c.source, "field": c.field, "how": c.how, "unit": c.unit} for c in columns]
        print_json({"dataset": f"db:{name}", "table": place.table, "columns": found})
        return FINE
    if columns:
        print_table(
            ("column", "read as", "how", "unit", "note"),
            [(c.source, c.field or "–", "kept out" if c.kept_out else c.how, c.unit, c.why) for c in columns],
        )
    else:
        say("The table has canonical columns and is used as it is.")
    say(f"Saved. Use it as --dataset db:{name}, or choose it in the app.")
    return FINE


def doctor(
    given: GivenDataset = None,
    dataset: NamedDataset = None,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Rebuild it from the newest version that can be read; the old folder is kept."),
    ] = False,
    json: Json = False,
) -> int:
    """Say what is wrong with a stored data set and what can still be read.

    Exit code 1 where something is wrong.
    """
    name = chosen(given, dataset)
    if repair:
        return _repair(name, json)
    found = kpi.doctor(name)
    if json:
        print_json(
            {
                "dataset": found.dataset,
                "healthy": found.healthy,
                "readable": found.readable,
                "problems": list(found.problems),
                "notes": list(found.notes),
                "versions": [_version(v) for v in found.versions],
            }
        )
    else:
        say(found.sentence)
        print()
        count = kpi.wording.format_count
        rows = [
            (v.number, v.created_at[:16] or "–", count(v.requests), "yes" if v.readable else "no", _state(v))
            for v in found.versions
        ]
        print_table(("version", "created", "requests", "can be read", "state"), rows)
        said = dict.fromkeys([*found.problems, *(flaw for v in found.versions for t in v.tables for flaw in t.flaws)])
        _listing("Problems", list(said))
        _listing("Notes", found.notes)
    return FINE if found.healthy else BREACHED


def _version(v: kpi.VersionHealth) -> dict[str, Any]:
    tables = [
        {"name": t.name, "rows": t.rows, "files": t.files, "flaws": list(t.flaws), "unproven": t.unproven}
        for t in v.tables
    ]
    return {
        "number": v.number, "readable": v.readable, "created_at": v.created_at, "requests": v.requests,
        "problem": v.problem, "tables": tables,
    }  # fmt: skip


def _state(v: kpi.VersionHealth) -> str:
    flawed = [t.name for t in v.tables if t.flaws]
    if v.problem or flawed:
        return v.problem or f"damaged: {', '.join(flawed)}"
    unproven = sum(t.unproven for t in v.tables)
    return f"fine; {unproven:,} files of an earlier release have no checksum" if unproven else "fine"


def _listing(head: str, sentences: Sequence[str]) -> None:
    if sentences:
        print(f"\n{head}")
        for sentence in sentences[:_MOST]:
            say(sentence, longest=400, indent=2)
        if len(sentences) > _MOST:
            say(f"and {len(sentences) - _MOST:,} more; --json lists all", indent=2)


def _repair(dataset: str, json: bool) -> int:
    with progress() as shown:
        done = kpi.repair(dataset, progress=shown)
    if json:
        print_json(
            {
                "dataset": done.dataset, "version": done.version, "source": done.source, "kept": done.kept,
                "requests": done.requests, "notes": list(done.notes),
            }
        )  # fmt: skip
    else:
        say(done.sentence)
        _listing("Notes", done.notes)
    return FINE

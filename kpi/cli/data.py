"""Data sets and databases: `kpi datasets | versions | doctor | connections | connect`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import kpi
from kpi.cli import completion
from kpi.cli.command import BREACHED, FINE
from kpi.cli.options import GivenDataset, Json, MappingFile, NamedDataset, argument, chosen, option
from kpi.cli.output import day, fields, moment, print_json, print_table, progress, say, show

_MOST = 50  # sentences for a person; --json has all of them


PANEL = "Data sets and databases"
COMMANDS = {
    "datasets": ("kpi datasets",),
    "versions": ("kpi versions --dataset sample",),
    "doctor": ("kpi doctor --dataset sample", "kpi doctor --dataset sample --repair"),
    "connections": ("kpi connections",),
    "connect": ("kpi connect shop --table calls --mapping mapping.toml",),
}


def datasets(json: Json = False) -> int:
    """List data sets."""
    found = kpi.datasets()
    if not found and not json:
        say("No data set yet. Load one: kpi load FILE --dataset NAME")
        return FINE
    count = kpi.wording.format_count
    plain = [
        {**fields(d, "name version requests spans"), "from": moment(d.first), "to": moment(d.last),
         **fields(d, "loaded_at bytes")}
        for d in found
    ]  # fmt: skip
    return show(
        json, {"datasets": plain}, ("data set", "version", "requests", "spans", "first", "last", "loaded"),
        ((d.name, d.version, count(d.requests), count(d.spans), day(d.first), day(d.last), d.loaded_at[:16])
         for d in found),
    )  # fmt: skip


def versions(given: GivenDataset = None, dataset: NamedDataset = None, json: Json = False) -> int:
    """List the versions of a data set."""
    found = kpi.versions(chosen(given, dataset))
    count = kpi.wording.format_count
    plain = [fields(v, "number created_at fingerprint requests spans loaded origin") for v in found]
    rows = ((v.number, v.created_at[:16], count(v.requests), count(v.loaded), v.fingerprint) for v in found)
    return show(json, {"versions": plain}, ("version", "created", "requests", "loaded", "fingerprint"), rows)


def connections(json: Json = False) -> int:
    """List databases that the administrator has named."""
    found = kpi.connections()
    if not found and not json:
        say("No connection yet. An administrator names them in .streamlit/secrets.toml or in KPI_CONNECTION_NAME.")
        return FINE
    plain = [fields(c, "name dialect description table problem") for c in found]
    rows = ((c.name, f"db:{c.name}", c.description, c.table, c.problem or "none") for c in found)
    return show(json, {"connections": plain}, ("connection", "data set", "database", "table", "problem"), rows)


def connect(
    name: Annotated[str, argument("NAME", "Connection, as kpi connections lists it.", completion.connections)],
    table: Annotated[str, option("--table", None, "Table or view with one row a request; may name its schema.")],
    mapping: MappingFile = None,
    json: Json = False,
) -> int:
    """Check a table of a named database and use it as --dataset db:NAME.

    Without --mapping its columns have canonical names or are guessed.
    """
    place = kpi.connect(name, table=table, mapping=kpi.Mapping.load(mapping) if mapping else None)
    columns = place.mapping.columns if place.mapping else ()
    if json:
        found = [fields(c, "source field how unit") for c in columns]
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
        bool, option("--repair", None, "Rebuild it from the newest version that can be read; the old folder is kept.")
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
        told = fields(found, "dataset healthy readable problems notes")
        print_json({**told, "versions": [_version(v) for v in found.versions]})
    else:
        say(found.sentence)
        print()
        count = kpi.wording.format_count
        rows = [(v.number, v.created_at[:16] or "–", count(v.requests), "yes" if v.readable else "no", _state(v))
                for v in found.versions]  # fmt: skip
        print_table(("version", "created", "requests", "can be read", "state"), rows)
        said = dict.fromkeys([*found.problems, *(flaw for v in found.versions for t in v.tables for flaw in t.flaws)])
        _listing("Problems", list(said))
        _listing("Notes", found.notes)
    return FINE if found.healthy else BREACHED


def _version(v: kpi.VersionHealth) -> dict[str, Any]:
    tables = [fields(t, "name rows files flaws unproven") for t in v.tables]
    return {**fields(v, "number readable created_at requests problem"), "tables": tables}


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
        print_json(fields(done, "dataset version source kept requests notes"))
    else:
        say(done.sentence)
        _listing("Notes", done.notes)
    return FINE

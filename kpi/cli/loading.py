"""Bring data in: `kpi load | copy`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

import kpi
from kpi.cli import completion
from kpi.cli.command import FINE, add
from kpi.cli.options import Allow, Dataset, Json, MappingFile
from kpi.cli.output import moment, print_json, print_table, progress, say


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    panel = "Bring data in"
    add(app, "load", load, "kpi load traces.jsonl --dataset prod",
        "kpi load table.csv --dataset prod --mapping mapping.toml", panel=panel)  # fmt: skip
    add(app, "copy", copy, "kpi copy phoenix --dataset prod --since 2026-11-01", panel=panel)


def load(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Exports, archives or folders.")],
    dataset: Dataset = "default",
    mapping: MappingFile = None,
    allow: Allow = None,
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Store the rest also where many rows are dropped or overwritten.")
    ] = False,
    decimal: Annotated[str, typer.Option("--decimal", metavar="MARK", help="Decimal mark of a table: . or ,")] = "",
    dates: Annotated[
        str, typer.Option("--dates", metavar="ORDER", help="How 01/02/26 is read: day/month, month/day or year/month.")
    ] = "",
    delimiter: Annotated[str, typer.Option("--delimiter", metavar="C", help="What parts the cells of a CSV.")] = "",
    sheet: Annotated[str, typer.Option("--sheet", metavar="NAME", help="The sheet of a workbook.")] = "",
    json: Json = False,
) -> int:
    """Load trace exports or tables into a data set.

    Where more than 20 % of the rows read would be lost, nothing is stored, and the exit code is 3.
    """
    from kpi.loading.load import MAX_LOSS  # the help of commands imports nothing heavy

    said = {"decimal": decimal, "dates": dates, "delimiter": delimiter.replace("\\t", "\t"), "sheet": sheet}
    given = (kpi.Mapping.load(mapping) if mapping else kpi.Mapping()).said(said)
    with progress() as shown:
        receipt = kpi.load(
            files, dataset=dataset, mapping=given if mapping or given.options else None, allow=allow or [],
            max_loss=1.0 if allow_loss else MAX_LOSS, progress=shown,
        )  # fmt: skip
    return _receipt(receipt, json)


def copy(
    connection: Annotated[
        str,
        typer.Argument(
            metavar="CONNECTION", help="A name that kpi connections lists.", autocompletion=completion.connections
        ),
    ],
    dataset: Dataset = "default",
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Leave out what began before, ISO 8601.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Read everything again, not only what is new.")] = False,
    format: Annotated[
        str | None,
        typer.Option("--format", metavar="VENDOR", help="phoenix, mlflow, litellm or langfuse, if several."),
    ] = None,
    allow: Allow = None,
    json: Json = False,
) -> int:
    """Copy what is new in a named database of a vendor into a data set."""
    with progress() as shown:
        receipt = kpi.copy(
            connection, dataset=dataset, since=since, full=full, format=format, allow=allow or [], progress=shown
        )
    return _receipt(receipt, json)


def _receipt(receipt: kpi.Receipt, json: bool) -> int:
    if json:
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
                **({"unread": [dataclasses.asdict(u) for u in receipt.unread]} if receipt.unread else {}),
            }
        )
        return FINE
    for sentence in kpi.wording.receipt_sentences(receipt):
        say(sentence, indent=2)
    if receipt.columns:
        rows = [
            (c.source, c.field or "–", "kept out" if c.kept_out else c.how, c.unit, c.note) for c in receipt.columns
        ]
        print_table(("column", "read as", "how", "unit", "note"), rows)
    if receipt.unread:
        missed = [(u.name, str(u.count), kpi.wording.format_number(u.example)) for u in receipt.unread]
        print_table(("measure that nobody reads", "times", "for example"), missed)
    for drop in receipt.drops[:20]:
        say(f"row {drop.row}: {drop.reason}. {drop.hint}", longest=400, indent=2)
    return FINE

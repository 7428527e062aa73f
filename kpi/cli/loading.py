"""Bring data in: `kpi load | copy`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import kpi
from kpi.cli import completion
from kpi.cli.command import FINE
from kpi.cli.options import Allow, Dataset, Given, Json, MappingFile, argument, option
from kpi.cli.output import fields, moment, print_json, print_table, progress, say, say_receipt

PANEL = "Bring data in"
COMMANDS = {
    "load": ("kpi load traces.jsonl --dataset prod", "kpi load table.csv --dataset prod --mapping mapping.toml"),
    "copy": ("kpi copy phoenix --dataset prod --since 2026-11-01",),
}


def load(
    files: Annotated[list[Path], argument("FILE", "Exports, archives or folders.")],
    dataset: Dataset = "default",
    mapping: MappingFile = None,
    allow: Allow = None,
    allow_loss: Annotated[
        bool, option("--allow-loss", None, "Store the rest also where many rows are dropped or overwritten.")
    ] = False,
    decimal: Annotated[str, option("--decimal", "MARK", "Decimal mark of a table: . or ,")] = "",
    dates: Annotated[str, option("--dates", "ORDER", "How 01/02/26 is read: day/month, month/day or year/month.")] = "",
    delimiter: Annotated[str, option("--delimiter", "C", "What parts the cells of a CSV.")] = "",
    sheet: Annotated[str, option("--sheet", "SHEET", "The sheet of a workbook.")] = "",
    json: Json = False,
) -> int:
    """Load trace exports or tables into a data set.

    Where more than 20 % of the rows read would be lost, nothing is stored, and the exit code is 3.
    """
    from kpi.loading.load import MAX_LOSS  # the help of commands imports nothing heavy

    said = {"decimal": decimal, "dates": dates, "delimiter": delimiter.replace("\\t", "\t"), "sheet": sheet}
    given = (kpi.Mapping.load(mapping) if mapping else kpi.Mapping()).said(said)
    with progress() as shown:
        receipt = kpi.load(files, dataset=dataset, mapping=given if mapping or given.options else None,
                           allow=allow or [], max_loss=1.0 if allow_loss else MAX_LOSS, progress=shown)  # fmt: skip
    return _receipt(receipt, json)


def copy(
    connection: Annotated[str, argument("CONNECTION", "A name that kpi connections lists.", completion.connections)],
    dataset: Dataset = "default",
    since: Annotated[Given, option("--since", "TIME", "Leave out what began before, ISO 8601.")] = None,
    full: Annotated[bool, option("--full", None, "Read everything again, not only what is new.")] = False,
    format: Annotated[Given, option("--format", "VENDOR", "phoenix, mlflow, litellm or langfuse, if several.")] = None,
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
        counts = "dataset version format files requests spans loaded repeated dropped unmapped unpriced unpriced_models"
        print_json({
            **fields(receipt, f"{counts} prices"), "from": moment(receipt.first), "to": moment(receipt.last),
            "notes": receipt.notes, "columns": [fields(c, "source field how unit") for c in receipt.columns],
            "drops": [fields(d, "row reason hint file") for d in receipt.drops],
            "kept_out": receipt.kept_out, "missing": receipt.missing,
            **({"unread": [dataclasses.asdict(u) for u in receipt.unread]} if receipt.unread else {}),
        })  # fmt: skip
        return FINE
    say_receipt(receipt)
    if receipt.columns:
        rows = [(c.source, c.field or "–", "kept out" if c.kept_out else c.how, c.unit, c.note)
                for c in receipt.columns]  # fmt: skip
        print_table(("column", "read as", "how", "unit", "note"), rows)
    if receipt.unread:
        missed = [(u.name, str(u.count), kpi.wording.format_number(u.example)) for u in receipt.unread]
        print_table(("measure that nobody reads", "times", "for example"), missed)
    for drop in receipt.drops[:20]:
        say(f"row {drop.row}: {drop.reason}. {drop.hint}", longest=400, indent=2)
    return FINE

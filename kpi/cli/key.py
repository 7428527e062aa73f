"""The key of the user pseudonyms: `kpi key show | backup | restore | rotate | adopt | forget`. No secret is printed."""

from pathlib import Path
from typing import Annotated

import kpi
from kpi.cli import completion
from kpi.cli.command import BREACHED, FINE
from kpi.cli.options import Json, argument, option
from kpi.cli.output import fields, print_json, print_table, progress, say, say_receipt

Required = Annotated[str, option("--dataset", "NAME", "Data set.", completion.datasets)]


PANEL = "Prices and keys"
COMMANDS = {
    "show": ("kpi key show",),
    "backup": ("kpi key backup ai-index.key",),
    "restore": ("kpi key restore ai-index.key",),
    "rotate": ("kpi key rotate --dataset sample",),
    "adopt": ("kpi key adopt --dataset sample",),
    "forget": ("kpi key forget 5f0c3a9b",),
}
HELP = "The key of the user pseudonyms: which data set has which, backup, rotation."


def show(json: Json = False) -> int:
    """Ids of the keys at hand and of the data sets that need them.

    Exit code 1 where a data set has users by a key that is not at hand.
    """
    state = kpi.key_state()
    missing = any(not d.at_hand for d in state.datasets)
    if json:
        print_json({**fields(state, "current source keys"),
                    "datasets": [fields(d, "name key at_hand") for d in state.datasets]})  # fmt: skip
        return BREACHED if missing else FINE
    where = {"environment": "from KPI_USER_KEY", "file": "from the state folder"}.get(state.source, "")
    say(f"New data sets get the key {state.current}, {where}." if state.current else "The first load makes a key.")
    if len(state.keys) > 1:
        say(f"At hand: {', '.join(state.keys)}.")
    if state.datasets:
        rows = [(d.name, d.key or "–", "yes" if d.at_hand else "no: bring it back") for d in state.datasets]
        print_table(("data set", "key of its users", "at hand"), rows)
    return BREACHED if missing else FINE


def backup(
    file: Annotated[Path, argument("FILE", "A new file.")],
    dataset: Annotated[
        str | None,
        option("--dataset", "NAME", "The key of this data set (default: of new data sets).", completion.datasets),
    ] = None,
    json: Json = False,
) -> int:
    """Write the key into a new file, readable by you alone."""
    return _told(kpi.backup_key(file, dataset=dataset), json, "is written. Keep it off this machine")


def restore(file: Annotated[Path, argument("FILE", "The backup.")], json: Json = False) -> int:
    """Bring a key back from its backup; overwrites none."""
    return _told(kpi.restore_key(file), json, "is at hand")


def forget(id: Annotated[str, argument("ID", "As kpi key show lists it.")], json: Json = False) -> int:
    """Delete a key that no data set needs any more."""
    kpi.forget_key(id)
    return _told(id, json, "is deleted")


def _told(id: str, json: bool, what: str) -> int:
    if json:
        print_json({"key": id})
    else:
        say(f"The key {id} {what}.")
    return FINE


def rotate(dataset: Required, json: Json = False) -> int:
    """Re-key on purpose: users before and after cannot be linked. --dataset all rotates every data set."""
    before = set(kpi.key_state().keys)
    with progress() as shown:
        found = kpi.rotate_key(dataset, progress=shown)
    state = kpi.key_state()
    needed = {d.key for d in state.datasets} | {state.current}
    unneeded = sorted(k for k in before if k not in needed and k in state.keys)
    if json:
        print_json({
            "key": state.current, "unneeded": unneeded,
            "datasets": [{"dataset": r.dataset, "version": r.version, "users": r.loaded} for r in found],
        })  # fmt: skip
        return FINE
    for receipt in found:
        say_receipt(receipt)
    say(f"New data sets get the key {state.current}. Back it up: kpi key backup FILE")
    for id in unneeded:
        say(f"No data set needs the key {id} any more. To break the link for good: kpi key forget {id}")
    return FINE


def adopt(dataset: Required, json: Json = False) -> int:
    """Say that the key at hand is the one of a data set of an earlier release."""
    receipt = kpi.adopt_key(dataset)
    if json:
        print_json({"dataset": receipt.dataset, "version": receipt.version})
        return FINE
    for note in receipt.notes:
        say(note, indent=2)
    return FINE

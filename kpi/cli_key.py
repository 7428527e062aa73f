"""The command line of the key: `kpi key show | backup | restore | rotate | adopt | forget`. No secret is printed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import kpi
from kpi.narrate.wording import receipt_sentences
from kpi.terminal import BREACHED, FINE, finish, print_json, print_table, printable, progress


def add(commands: Any) -> None:
    """The commands below `kpi key`."""
    key = commands.add_parser("key", help="the key of the user pseudonyms: which data set has which, backup, rotation")
    actions = key.add_subparsers(title="actions", required=True, metavar="ACTION")
    finish(actions.add_parser("show", help="ids of the keys at hand and of the data sets that need them"), _show)
    backup = actions.add_parser("backup", help="write the key into a new file, readable by you alone")
    backup.add_argument("file", type=Path, metavar="FILE")
    backup.add_argument("--dataset", metavar="NAME", help="the key of this data set (default: of new data sets)")
    finish(backup, _backup)
    restore = actions.add_parser("restore", help="bring a key back from its backup; overwrites none")
    restore.add_argument("file", type=Path, metavar="FILE")
    finish(restore, _restore)
    rotate = actions.add_parser("rotate", help="re-key on purpose: users before and after cannot be linked")
    rotate.add_argument("--dataset", required=True, metavar="NAME", help="data set, or all")
    finish(rotate, _rotate)
    adopt = actions.add_parser("adopt", help="say that the key at hand is the one of a data set of an earlier release")
    adopt.add_argument("--dataset", required=True, metavar="NAME")
    finish(adopt, _adopt)
    forget = actions.add_parser("forget", help="delete a key that no data set needs any more")
    forget.add_argument("id", metavar="ID", help="as `kpi key show` lists it")
    finish(forget, _forget)


def _show(options: argparse.Namespace) -> int:
    """Exit code 1 where a data set has users by a key that is not at hand, else 0."""
    state = kpi.key_state()
    missing = any(not d.at_hand for d in state.datasets)
    if options.json:
        print_json({
            "current": state.current, "source": state.source, "keys": state.keys,
            "datasets": [{"name": d.name, "key": d.key, "at_hand": d.at_hand} for d in state.datasets],
        })  # fmt: skip
        return BREACHED if missing else FINE
    where = {"environment": "from KPI_USER_KEY", "file": "from the state folder"}.get(state.source, "")
    print(f"New data sets get the key {state.current}, {where}." if state.current else "The first load makes a key.")
    if len(state.keys) > 1:
        print(f"At hand: {', '.join(state.keys)}.")
    if state.datasets:
        rows = [(d.name, d.key or "–", "yes" if d.at_hand else "no: bring it back") for d in state.datasets]
        print_table(("data set", "key of its users", "at hand"), rows)
    return BREACHED if missing else FINE


def _backup(options: argparse.Namespace) -> int:
    return _told(kpi.backup_key(options.file, dataset=options.dataset), options, "is written. Keep it off this machine")


def _restore(options: argparse.Namespace) -> int:
    return _told(kpi.restore_key(options.file), options, "is at hand")


def _forget(options: argparse.Namespace) -> int:
    kpi.forget_key(options.id)
    return _told(options.id, options, "is deleted")


def _told(id: str, options: argparse.Namespace, what: str) -> int:
    if options.json:
        print_json({"key": id})
    else:
        print(f"The key {printable(id)} {what}.")
    return FINE


def _rotate(options: argparse.Namespace) -> int:
    before = set(kpi.key_state().keys)
    found = kpi.rotate_key(options.dataset, progress=progress())
    state = kpi.key_state()
    needed = {d.key for d in state.datasets} | {state.current}
    unneeded = sorted(k for k in before if k not in needed and k in state.keys)
    if options.json:
        print_json({
            "key": state.current, "unneeded": unneeded,
            "datasets": [{"dataset": r.dataset, "version": r.version, "users": r.loaded} for r in found],
        })  # fmt: skip
        return FINE
    for receipt in found:
        for sentence in receipt_sentences(receipt):
            print(f"  {printable(sentence, longest=2000)}")
    print(f"New data sets get the key {state.current}. Back it up: kpi key backup FILE")
    for id in unneeded:
        print(f"No data set needs the key {id} any more. To break the link for good: kpi key forget {id}")
    return FINE


def _adopt(options: argparse.Namespace) -> int:
    receipt = kpi.adopt_key(options.dataset)
    if options.json:
        print_json({"dataset": receipt.dataset, "version": receipt.version})
        return FINE
    for note in receipt.notes:
        print(f"  {printable(note, longest=2000)}")
    return FINE

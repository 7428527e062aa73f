"""The command `kpi doctor`: what is wrong with a stored data set, what can still be read, and its repair."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import kpi
from kpi.narrate.wording import format_count
from kpi.terminal import BREACHED, FINE, finish, print_json, print_table, printable, progress

_MOST = 50  # sentences for a person; --json has all of them


def add(commands: Any) -> None:
    doctor = commands.add_parser("doctor", help="say what is wrong with a stored data set and what can still be read")
    doctor.add_argument("dataset", nargs="?", default="default", metavar="DATASET")
    doctor.add_argument(
        "--repair", action="store_true",
        help="rebuild it from the newest version that can be read; the old folder is kept",
    )  # fmt: skip
    finish(doctor, _doctor)


def _doctor(options: argparse.Namespace) -> int:
    if options.repair:
        return _repair(options)
    found = kpi.doctor(options.dataset)
    if options.json:
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
        print(printable(found.sentence, longest=2000) + "\n")
        rows = [
            (v.number, v.created_at[:16] or "–", format_count(v.requests), "yes" if v.readable else "no", _state(v))
            for v in found.versions
        ]
        print_table(("version", "created", "requests", "can be read", "state"), rows)
        said = dict.fromkeys([*found.problems, *(flaw for v in found.versions for t in v.tables for flaw in t.flaws)])
        _say("Problems", list(said))
        _say("Notes", found.notes)
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


def _say(head: str, sentences: Sequence[str]) -> None:
    if sentences:
        print(f"\n{head}")
        for sentence in sentences[:_MOST]:
            print(f"  {printable(sentence, longest=400)}")
        if len(sentences) > _MOST:
            print(f"  and {len(sentences) - _MOST:,} more; --json lists all")


def _repair(options: argparse.Namespace) -> int:
    done = kpi.repair(options.dataset, progress=progress())
    if options.json:
        print_json(
            {
                "dataset": done.dataset, "version": done.version, "source": done.source, "kept": done.kept,
                "requests": done.requests, "notes": list(done.notes),
            }
        )  # fmt: skip
    else:
        print(printable(done.sentence, longest=2000))
        _say("Notes", done.notes)
    return FINE

"""Ways in which one file can be damaged. Each changes a file in a copy of a state folder; offsets come from a seed."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

Fault = Callable[[Path, random.Random], None]


def _cut(share: float) -> Fault:
    def fault(path: Path, dice: random.Random) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: min(int(len(content) * share), len(content) - 1)])

    return fault


def _zeroed(share: float) -> Fault:
    def fault(path: Path, dice: random.Random) -> None:
        content = path.read_bytes()
        size = max(1, int(len(content) * share))
        path.write_bytes(bytes(size) + content[size:])

    return fault


def _flipped(bits: int) -> Fault:
    def fault(path: Path, dice: random.Random) -> None:
        content = bytearray(path.read_bytes())
        for _ in range(bits):
            content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        path.write_bytes(bytes(content))

    return fault


def _deleted(path: Path, dice: random.Random) -> None:
    path.unlink()


def _folder(path: Path, dice: random.Random) -> None:
    """Tests may run as root, who can read everything; a folder in its place nobody can read as a file."""
    path.unlink()
    path.mkdir()


def _dangling(path: Path, dice: random.Random) -> None:
    path.unlink()
    path.symlink_to(path.with_name("not there"))


def _looping(path: Path, dice: random.Random) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _newer(path: Path, dice: random.Random) -> None:
    """The file as a release of the future might write it."""
    content = path.read_bytes()
    if path.parent.name == "_delta_log" and path.suffix == ".json":
        newer = {"protocol": {"minReaderVersion": 99, "minWriterVersion": 99}}
        path.write_bytes(content + json.dumps(newer).encode() + b"\n")
    elif path.suffix == ".json":
        told = json.loads(content)
        path.write_text(json.dumps({"format": 99, "newer": told} | (told if isinstance(told, dict) else {})))
        path.write_text(path.read_text().replace('"format": 1', '"format": 99'))
    elif path.suffix == ".toml":
        path.write_bytes(b"format = 99\n[newer]\nkpis = 1\n")
    elif path.suffix == ".parquet":
        path.write_bytes(b"PAR9" + content[4:-4] + b"PAR9")
    else:
        path.write_bytes(b"format 99\n" + content)


FAULTS: dict[str, Fault] = {
    "cut to nothing": _cut(0.0),
    "cut to half": _cut(0.5),
    "last byte cut": _cut(1.0),
    "zeroed": _zeroed(1.0),
    "first tenth zeroed": _zeroed(0.1),
    "one bit": _flipped(1),
    "another bit": _flipped(1),
    "sixty bits": _flipped(60),
    "deleted": _deleted,
    "newer format": _newer,
    "unreadable": _folder,
    "dangling link": _dangling,
    "looping link": _looping,
}


def whole_folders(home: Path) -> dict[str, Callable[[], None]]:
    """Damage that is not to one file: lost folders, files of others, a newer commit, a truncated history."""
    place = home / "datasets" / "d"
    log = place / "requests" / "_delta_log"
    next_commit = log / f"{len(list(log.glob('*[0-9].json'))):020}.json"
    newer = json.dumps({"protocol": {"minReaderVersion": 99, "minWriterVersion": 99}})

    def cut_history() -> None:
        (place / "versions" / "00000003.json").unlink()
        (place / "newest.json").unlink()

    def swapped() -> None:
        first, second, *_ = sorted((place / "requests").glob("*/*.parquet"))
        content = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(content)

    return {
        "versions lost": lambda: shutil.rmtree(place / "versions"),
        "versions and witness lost": lambda: (shutil.rmtree(place / "versions"), (place / "newest.json").unlink()),
        "lists lost": lambda: shutil.rmtree(place / "versions" / "files"),
        "newest manifest and witness lost": cut_history,
        "log lost": lambda: shutil.rmtree(log),
        "table lost": lambda: shutil.rmtree(place / "requests"),
        "day lost": lambda: shutil.rmtree(sorted((place / "requests").glob("day=*"))[0]),
        "table is a file": lambda: (shutil.rmtree(place / "spans"), (place / "spans").write_text("x")),
        "table is a link": lambda: ((place / "spans").rename(place / "away"), os.symlink("away", place / "spans")),
        "foreign text": lambda: (place / "requests" / "notes.txt").write_text("mine"),
        "foreign Parquet": lambda: shutil.copy(place / "newest.json", place / "spans" / "my.parquet"),
        "foreign in the log": lambda: (log / "mine.json").write_text("{}"),
        "newer commit": lambda: next_commit.write_text(newer + "\n"),
        "torn commit": lambda: next_commit.write_text('{"add": {"pa'),
        "empty commit": lambda: next_commit.write_text(""),
        "files exchanged": swapped,
    }  # fmt: skip

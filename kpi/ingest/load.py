"""One load, from files to a new version: the key, the guarded reading, the commit. What the CLI and the page call.

The mapping that was used and the additions to the allow-list are kept beside the data set and serve the next load.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import orjson

from kpi.errors import StoreError
from kpi.ingest import guard
from kpi.ingest.mapping import Mapping
from kpi.ingest.privacy import Allow, load_key
from kpi.ingest.receipt import Receipt
from kpi.store import lake
from kpi.store.manifest import folder, home

_STAGE = ".stage-"
_READING = 0.6  # share of a load's time, for the progress bar
Progress = Callable[[float, str], None]


def load(
    paths: Sequence[Path | str] | Path | str,
    *,
    dataset: str = "default",
    mapping: Mapping | None = None,
    allow: Collection[str] = (),
    progress: Progress | None = None,
) -> Receipt:
    """Load exports into a data set and return the receipt.

    mapping: of the columns of a table; without it the one saved beside the data set, else guessed. allow: metadata keys
    to keep from now on, besides those allowed before. progress: called with a fraction in 0-1 and a short text.
    Raises IngestError, MappingError, StoreError; the data set is then as it was.
    """
    files = [Path(p) for p in ([paths] if isinstance(paths, str | Path) else paths)]
    place = folder(dataset)
    allowed = sorted(saved_allow(dataset) | {a.strip() for a in allow if a.strip()})
    Allow(allowed)  # a pattern that is too broad stops here, before anything is read
    key = load_key(home())
    new = not place.exists()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=_STAGE, dir=place))
    try:
        receipt = guard.stage(
            files, directory=stage, mapping=mapping or saved_mapping(dataset), allow=allowed, key=key,
            progress=_part(progress, 0.0, _READING),
        )  # fmt: skip
        receipt = lake.commit(dataset, stage, receipt, progress=_part(progress, _READING, 1.0))
        _remember(place, mapping, allowed)
        return receipt
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if new and not (place / "versions").exists():
            with contextlib.suppress(OSError):
                place.rmdir()  # only where nothing was stored


def saved_mapping(dataset: str) -> Mapping | None:
    """The mapping kept beside a data set, or None. Raises MappingError when its file was damaged."""
    path = folder(dataset) / "mapping.json"
    return Mapping.load(path) if path.exists() else None


def saved_allow(dataset: str) -> frozenset[str]:
    """Metadata keys that were allowed for a data set besides the default ones."""
    path = folder(dataset) / "allow.json"
    if not path.exists():
        return frozenset()
    try:
        names = orjson.loads(path.read_bytes())
        return frozenset(n for n in names if isinstance(n, str))
    except (OSError, orjson.JSONDecodeError, TypeError) as error:
        raise StoreError(
            "store.allow", f"The list of allowed keys of {dataset!r} is damaged",
            hint="Delete allow.json in the folder of the data set, and name the keys again.",
        ) from error  # fmt: skip


def _remember(place: Path, mapping: Mapping | None, allowed: Sequence[str]) -> None:
    if mapping is not None:
        _replace(place / "mapping.json", orjson.dumps(mapping.to_dict(), option=orjson.OPT_INDENT_2))
    if allowed:
        _replace(place / "allow.json", orjson.dumps(list(allowed), option=orjson.OPT_INDENT_2))


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    draft.write_bytes(content)
    os.replace(draft, path)


def _part(progress: Progress | None, start: float, end: float) -> Progress | None:
    if progress is None:
        return None
    tell = progress
    return lambda fraction, text: tell(start + (end - start) * min(1.0, max(0.0, fraction)), text)

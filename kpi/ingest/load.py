"""One load, from files to a new version: the key, the guarded reading, the commit. What the CLI and the page call.

The mapping that was used and the additions to the allow-list are kept beside the data set and serve the next load.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import orjson

from kpi.errors import MappingError, StoreError
from kpi.ingest import guard
from kpi.ingest.mapping import Mapping
from kpi.ingest.price_file import table_of, user_text
from kpi.ingest.privacy import Allow
from kpi.ingest.receipt import Receipt
from kpi.ingest.user_key import UserKey, key_of, ring_key
from kpi.store import lake, manifest
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

    mapping: of the columns of a table, and strict; without it the one kept from earlier loads counts for the columns
    that are there and fit, and the rest is guessed. What was used is kept for the next load. allow: metadata keys
    to keep from now on, besides those allowed before. progress: called with a fraction in 0-1 and a short text.
    Raises IngestError, MappingError, PriceError, StoreError; the data set is then as it was.
    """
    files = [Path(p) for p in ([paths] if isinstance(paths, str | Path) else paths)]
    allowed = allowed_keys(dataset, allow)
    key, ids_key = keys_of(dataset)
    own_prices = user_text(home())
    prices = table_of(own_prices)
    with stage_folder(dataset) as stage:
        done = guard.read(
            files, directory=stage, mapping=mapping, saved=None if mapping else saved_mapping(dataset),
            allow=allowed, key=key.secret, ids_key=ids_key, prices=own_prices,
            progress=part(progress, 0.0, _READING),
        )  # fmt: skip
        told = part(progress, _READING, 1.0)
        user_key = key if done.pseudonyms else None
        receipt = lake.commit(dataset, stage, done.receipt, prices=prices, user_key=user_key, progress=told)
        remember(dataset, done.mapping, allowed)
        return receipt


def keys_of(dataset: str) -> tuple[UserKey, bytes | None]:
    """The key of a data set's users, and the one that ids of its rows are made with, which rotations leave as it was.

    The second is None where it is the first, or is gone. Raises StoreError where the key is not the one of its users.
    """
    base = manifest.read(dataset) if manifest.numbers(dataset) else None
    key = key_of(home(), dataset, base.user_key if base else None)
    return key, ring_key(home(), base.rekeyed[0][1]) if base and base.rekeyed else None


@contextlib.contextmanager
def stage_folder(dataset: str) -> Iterator[Path]:
    """A folder for what is staged, gone afterwards; so is the data set's where it is new and nothing was stored."""
    place = folder(dataset)
    new = not place.exists()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=_STAGE, dir=place))
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if new and not (place / "versions").exists():
            with contextlib.suppress(OSError):
                place.rmdir()  # only where nothing was stored


def allowed_keys(dataset: str, allow: Collection[str]) -> list[str]:
    """Metadata keys allowed before and now, sorted. Raises IngestError for a pattern that is too broad."""
    allowed = sorted(saved_allow(dataset) | {a.strip() for a in allow if a.strip()})
    Allow(allowed)  # stops here, before anything is read
    return allowed


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


def remember(dataset: str, used: Mapping | None, allowed: Sequence[str]) -> None:
    """Keep what was used. Spans need no mapping, and leave the one of the tables before them as it is."""
    place = folder(dataset)
    if used is not None:
        kept = used
        with contextlib.suppress(MappingError):  # a damaged file is replaced
            kept = _with_absent(used, saved_mapping(dataset))
        replace_file(place / "mapping.json", orjson.dumps(kept.to_dict(), option=orjson.OPT_INDENT_2))
    if allowed:
        replace_file(place / "allow.json", orjson.dumps(list(allowed), option=orjson.OPT_INDENT_2))


def _with_absent(used: Mapping, saved: Mapping | None) -> Mapping:
    """What was used, and what is known of columns that this load did not have, as far as both go together."""
    sources, fields = {c.source for c in used.columns}, {c.field for c in used.columns if c.field}
    others = (c for c in (saved.columns if saved else ()) if c.source not in sources and c.field not in fields)
    return Mapping((*used.columns, *others))


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    draft.write_bytes(content)
    os.replace(draft, path)


def part(progress: Progress | None, start: float, end: float) -> Progress | None:
    """A stretch of a progress bar as a bar of its own."""
    if progress is None:
        return None
    tell = progress
    return lambda fraction, text: tell(start + (end - start) * min(1.0, max(0.0, fraction)), text)

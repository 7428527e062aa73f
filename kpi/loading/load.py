"""One load, from files to a new version: the key, the guarded reading, the commit. What the CLI and the page call.

The mapping that was used and the additions to the allow-list are kept beside the data set and serve the next load.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import orjson

from kpi.disk import durable, full, owned_folders, permissions
from kpi.errors import IngestError, MappingError, StoreError
from kpi.ingest.sandbox import supervisor
from kpi.loading.told_twice import refuse_twice
from kpi.mapping.mapping import Mapping
from kpi.pricing.price_file import table_of, user_text
from kpi.privacy.policy import Allow
from kpi.privacy.user_key import UserKey, key_of, ring_key
from kpi.receipts import Receipt
from kpi.store import lake, manifest
from kpi.store.manifest import folder, home
from kpi.store.transaction import Progress

MAX_LOSS = 0.2  # share of the rows read that `kpi load` lets go without being told to
_FEW = 3  # rows; fewer of them are no large share of a small file, unless they are more than half
_TRIES = 5
_READING = 0.6  # share of a load's time, for the progress bar


def load(
    paths: Sequence[Path | str] | Path | str,
    *,
    dataset: str = "default",
    mapping: Mapping | None = None,
    allow: Collection[str] = (),
    max_loss: float = 0.5,
    progress: Progress | None = None,
) -> Receipt:
    """Load exports into a data set.

    Args:
        paths: Files or folders of exports, or tables with one row a request; archives are opened.
        dataset: Name of the data set; made where there is none.
        mapping: Of the columns of a table, and strict; without it the one kept from earlier loads counts for the
            columns that are there and fit, and the rest is guessed. What was used is kept for the next load.
        allow: Columns and metadata keys to keep from now on, besides those allowed before; a column is kept only by its
            full name.
        max_loss: The share of the rows read that may be dropped, or overwritten by other rows of this load; where more
            is lost, nothing is stored. With 1 any loss is accepted, and rows of tables may also replace stored
            requests of their ids at other times.
        progress: Called with a fraction in 0-1 and a short text.

    Returns:
        The receipt: what was read, kept, dropped and left out, and why.

    Raises:
        IngestError, MappingError, PriceError, StoreError: The data set is then as it was.

    Example:
        >>> found = kpi.load("requests.csv", dataset="mine")
        >>> (found.dataset, found.requests)
        ('mine', 3)
    """
    files = [Path(p) for p in ([paths] if isinstance(paths, str | Path) else paths)]
    allowed = allowed_keys(dataset, allow)
    saved = None if mapping and mapping.columns else saved_mapping(dataset)
    with stage_folder(dataset) as stage:
        key, ids_key = keys_of(dataset)
        own_prices = user_text(home())
        prices = table_of(own_prices)
        done = supervisor.read(
            files, directory=stage, mapping=mapping, saved=saved,
            allow=allowed, key=key.secret, ids_key=ids_key, prices=own_prices,
            progress=part(progress, 0.0, _READING),
        )  # fmt: skip
        refuse_loss(done.receipt, max_loss)
        refuse_twice(dataset, stage)
        told = part(progress, _READING, 1.0)
        user_key = key if done.pseudonyms else None
        receipt = lake.commit(
            dataset, stage, done.receipt, prices=prices, user_key=user_key, moving=max_loss >= 1, progress=told
        )  # fmt: skip
        with kept_beside(receipt, "how its columns are mapped and which keys are allowed"):
            remember(dataset, done.mapping, allowed)
        return receipt


def refuse_loss(receipt: Receipt, max_loss: float) -> None:
    """Raise IngestError `ingest.loss` where a larger share of the rows read was lost than may be."""
    few = receipt.dropped + receipt.overwritten < _FEW
    if receipt.lost <= (max(max_loss, 0.5) if few else max_loss):
        return
    parts = [f"{receipt.dropped:,} were dropped"] if receipt.dropped else []
    if receipt.overwritten:
        parts.append(f"{receipt.overwritten:,} have the id of a later row that says something else")
    reasons = sorted(receipt.drop_reasons, key=lambda reason: -receipt.drop_reasons[reason])[:3]
    why = "; ".join(f"{receipt.drop_reasons[reason]:,} × {reason}" for reason in reasons)
    share = f"{100 * receipt.lost:.0f} % of {receipt.rows_read:,} rows read"
    hint = "Nothing was stored. Mend the export, or accept it (--allow-loss; Accept lost rows on the page Data)."
    raise IngestError("ingest.loss", f"{share} would be lost: {' and '.join(parts)}{f' ({why})' if why else ''}",
                      hint=hint, row=receipt.drops[0].row if receipt.drops else None)  # fmt: skip


def keys_of(dataset: str) -> tuple[UserKey, bytes | None]:
    """The key of a data set's users, and the one that ids of its rows are made with, which rotations leave as it was.

    The second is None where it is the first, or is gone. Raises StoreError where the key is not the one of its users.
    """
    base = manifest.read(dataset) if manifest.numbers(dataset) else None
    key = key_of(home(), dataset, base.user_key if base else None)
    return key, ring_key(home(), base.rekeyed[0][1]) if base and base.rekeyed else None


@contextlib.contextmanager
def stage_folder(dataset: str) -> Iterator[Path]:
    """A folder for what is staged, gone afterwards; what dead loads left goes first. Raises StoreError `store.full`."""
    place = folder(dataset)
    with full.told(full.STORING, f"loading into {dataset!r}"):
        owned_folders.take_back_all(home(), dataset)
        permissions.tighten_home(home())
        try:
            with _inside(place) as stage:
                yield stage
        finally:
            with contextlib.suppress(OSError):
                place.rmdir()  # only where nothing was stored


def _inside(place: Path) -> owned_folders.OwnedFolder:
    """A stage in a folder that another load, which stored nothing, may be about to remove."""
    for _ in range(_TRIES):
        permissions.make_private(place)
        with contextlib.suppress(FileNotFoundError):
            return owned_folders.OwnedFolder(owned_folders.STAGE, place)
    raise StoreError("store.busy", "The folder of the data set was removed meanwhile", hint="Load again.")


@contextlib.contextmanager
def kept_beside(receipt: Receipt, what: str) -> Iterator[None]:
    """The version stands by now: where what is kept for the next load cannot be written, the receipt says so."""
    try:
        yield
    except OSError as error:
        why = "the disk is full" if full.is_full(error) else type(error).__name__
        receipt.note(f"The rows are stored, but {what} could not be kept for the next load ({why}).")


def allowed_keys(dataset: str, allow: Collection[str]) -> list[str]:
    """Columns and metadata keys allowed before and now, sorted. Raises IngestError for a pattern that is too broad."""
    allowed = sorted(saved_allow(dataset) | {a.strip() for a in allow if a.strip()})
    Allow(allowed)  # stops here, before anything is read
    return allowed


def saved_mapping(dataset: str) -> Mapping | None:
    """The mapping kept beside a data set, or None. Raises MappingError when its file is not as it was saved."""
    path = folder(dataset) / "mapping.json"
    if not path.exists():
        return None
    mapping = Mapping.load(path)
    data = orjson.loads(path.read_bytes())
    if "check" in data and data["check"] != durable.check(data):
        raise MappingError.told("mapping.changed", dataset=dataset)
    return mapping


def saved_allow(dataset: str) -> frozenset[str]:
    """Columns and metadata keys that were allowed for a data set besides the default ones."""
    path = folder(dataset) / "allow.json"
    if not path.exists():
        return frozenset()
    with contextlib.suppress(OSError, orjson.JSONDecodeError):
        names = orjson.loads(path.read_bytes())
        if isinstance(names, list) and all(isinstance(n, str) for n in names):
            return frozenset(names)
    raise StoreError.told("store.allow", dataset=dataset)


def remember(dataset: str, used: Mapping | None, allowed: Sequence[str]) -> None:
    """Keep what was used. Spans need no mapping, and leave the one of the tables before them as it is."""
    place = folder(dataset)
    if used is not None:
        kept = used
        with contextlib.suppress(MappingError):  # a damaged file is replaced
            kept = _with_absent(used, saved_mapping(dataset))
        data = kept.to_dict()
        data["check"] = durable.check(data)  # a changed unit would change numbers without a word
        durable.write(place / "mapping.json", orjson.dumps(data, option=orjson.OPT_INDENT_2))
    if allowed:
        durable.write(place / "allow.json", orjson.dumps(list(allowed), option=orjson.OPT_INDENT_2))


def _with_absent(used: Mapping, saved: Mapping | None) -> Mapping:
    """What was used, and what is known of columns that this load did not have, as far as both go together."""
    sources, fields = {c.source for c in used.columns}, {c.field for c in used.columns if c.field}
    others = (c for c in (saved.columns if saved else ()) if c.source not in sources and c.field not in fields)
    return dataclasses.replace(used, columns=(*used.columns, *others))


def part(progress: Progress | None, start: float, end: float) -> Progress | None:
    """A stretch of a progress bar as a bar of its own."""
    if progress is None:
        return None
    tell = progress
    return lambda fraction, text: tell(start + (end - start) * min(1.0, max(0.0, fraction)), text)

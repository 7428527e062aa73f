"""A named database of a vendor copied into a data set: what is new since the last copy, in one new version.

How far each table was read is kept beside the data set and written after the commit: a copy that fails anywhere leaves
all as it was, and one that is repeated changes nothing. Rows of a team's own database are still texts of strangers:
they go through the same translation and redaction as files. No password leaves this process, and no text of a driver
reaches a message.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
from collections import Counter
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa

from kpi import clock
from kpi.clock import utc
from kpi.disk import durable
from kpi.errors import IngestError, StoreError
from kpi.ingest.context import Context
from kpi.ingest.databases.database import Row
from kpi.ingest.databases.server import connected
from kpi.ingest.databases.streams import Marks, Tell, read
from kpi.ingest.formats import formats
from kpi.ingest.readers.vendor import Translation
from kpi.ingest.staging import Stage
from kpi.loading.load import allowed_keys, kept_beside, keys_of, part, remember, stage_folder
from kpi.pricing.price_file import table_of, user_text
from kpi.privacy.privacy import DEFAULT_ALLOW, Privacy
from kpi.receipts import Receipt
from kpi.store import lake, manifest
from kpi.store.connections import open_engine
from kpi.store.manifest import folder, home
from kpi.store.transaction import Progress

_READING = 0.7  # share of a copy's time, for the progress bar
_SOURCES = "sources.json"  # beside a data set
_EVERY = 2_000  # rows between two words of progress


def copy(
    connection: str,
    *,
    dataset: str = "default",
    since: datetime | str | None = None,
    full: bool = False,
    format: str | None = None,
    allow: Collection[str] = (),
    progress: Progress | None = None,
) -> Receipt:
    """Copy what is new in a vendor's database (Phoenix, MLflow, LiteLLM, Langfuse) into a data set.

    Where nothing is new the receipt says so and no version is made.

    Args:
        connection: A name the administrator gave.
        dataset: Name of the data set.
        since: Leave out what began before; ISO 8601, UTC where it has no zone.
        full: Read everything again, as after a change of the allow-list.
        format: Which vendor's tables, where a database holds several.
        allow: As in `kpi.load`.
        progress: Called with a fraction in 0-1 and a short text.

    Returns:
        The receipt, as of `kpi.load`.

    Raises:
        StoreError, IngestError: The data set and how far it was read are then as before.

    Example:
        >>> found = kpi.copy("phoenix", dataset="mine")  # doctest: +SKIP
    """
    began = _since(since)
    allowed = allowed_keys(dataset, allow)
    key, ids_key = keys_of(dataset)
    prices = table_of(user_text(home()))
    engine = open_engine(connection)
    receipt = Receipt(files=[connection])
    with stage_folder(dataset) as directory:
        with connected(engine, connection, receipt) as database:
            vendor = database.choose(format)
            identity = _identity(key.secret, engine, database.schema)
            marks = Marks() if full else _marks(dataset, connection, identity, vendor.name)
            receipt.format = vendor.name
            privacy = Privacy(key.secret, DEFAULT_ALLOW | frozenset(allowed), ids_key=ids_key)
            context = Context(privacy, receipt)
            tell = _teller(part(progress, 0.0, _READING), connection)
            found = read(database, vendor.streams, marks, since=began, tell=tell)
            staged = _staged(found, Translation(formats()[vendor.name], context), Stage(directory, receipt), receipt)
        receipt.keep_out(Counter(context.privacy.kept_out))
        if staged:
            done = lake.commit(
                dataset, directory, receipt, prices=prices, user_key=key if privacy.used else None,
                progress=part(progress, _READING, 1.0),
            )  # fmt: skip
        else:
            done = _nothing(dataset, connection, receipt)
        kept = {"database": identity, "format": vendor.name, "version": done.version}
        with kept_beside(done, "which keys are allowed and how far the database was read"):
            remember(dataset, None, allowed)
            entry = {**kept, "tables": marks.tables, "open": marks.open}
            told = orjson.dumps({**_sources(dataset), connection: entry}, option=orjson.OPT_INDENT_2)
            durable.write(folder(dataset) / _SOURCES, told)
    return done


def _staged(found: Iterator[Row], translation: Translation, stage: Stage, receipt: Receipt) -> bool:
    """Write all tables. False where there was nothing to write and nothing was wrong, but for rows of the future, which
    each copy meets until their time has come."""
    written = 0
    for tables in (translation.records(found, receipt.files[0]), translation.finish()):
        for table, rows in tables:
            stage.write(table, rows)
            written += rows.num_rows
    later = sum(count for reason, count in receipt.drop_reasons.items() if reason.endswith(clock.LATER))
    if not written and receipt.dropped == later and (later or not receipt.rows_read or receipt.notes):
        return False
    stage.finish()
    return True


def _nothing(dataset: str, connection: str, receipt: Receipt) -> Receipt:
    """The receipt of a copy that met no row. Raises IngestError where there never was one."""
    if not manifest.numbers(dataset):
        raise IngestError.told("ingest.no_rows:copy", connection=connection)
    receipt.dataset, receipt.version = dataset, manifest.numbers(dataset)[-1]
    receipt.note(f"Nothing is new in {connection} since the last copy.")
    return receipt


def _since(since: datetime | str | None) -> datetime | None:
    if since is None or isinstance(since, datetime):
        return utc(since) if since else None
    with contextlib.suppress(ValueError):
        return utc(datetime.fromisoformat(since.strip()))
    raise IngestError.told("copy.since", since=since[:40])


def _teller(progress: Progress | None, name: str) -> Tell:
    """Progress of reading in words."""
    due = 0

    def tell(done: int, total: int) -> None:
        nonlocal due
        if progress is not None and done >= due:
            due = done + _EVERY
            progress(done / max(total, 1), f"Copying {name}: {done:,} of {total:,} rows")

    return tell


def _identity(key: bytes, engine: sa.Engine, schema: str) -> str:
    """Which database a name stood for, told without telling its address: marks of another one mean nothing."""
    url = engine.url
    where = "\0".join(str(p) for p in (url.get_backend_name(), url.host, url.port, url.database, schema))
    return hmac.new(key, f"source\0{where}".encode(), hashlib.sha256).hexdigest()[:16]


def _sources(dataset: str) -> dict[str, Any]:
    """For each connection, how far its tables were read and in which version. Raises StoreError `copy.sources`."""
    path = folder(dataset) / _SOURCES
    if not path.exists():
        return {}
    with contextlib.suppress(OSError, orjson.JSONDecodeError):
        found = orjson.loads(path.read_bytes())
        if isinstance(found, dict):
            return found
    raise StoreError.told("copy.sources", dataset=dataset)


def _marks(dataset: str, connection: str, identity: str, format: str) -> Marks:
    """Where to go on; at the start for another database, and when an older version was restored since."""
    known = _sources(dataset).get(connection)
    if not isinstance(known, dict) or (known.get("database"), known.get("format")) != (identity, format):
        return Marks()
    copied = int(known.get("version") or 0)
    numbers = manifest.numbers(dataset)
    if not numbers or numbers[-1] < copied:
        return Marks()
    since = (v.origin for v in lake.versions(dataset) if v.number > copied)
    if any(origin is not None and origin < copied for origin in since):
        return Marks()
    return Marks(dict(known.get("tables") or {}), {k: list(v) for k, v in (known.get("open") or {}).items()})

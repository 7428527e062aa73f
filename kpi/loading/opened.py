"""`kpi.open`: a data set by its name, or a file or folder read into memory as a load reads it, with nothing stored."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from kpi.errors import StoreError
from kpi.ingest.sandbox import supervisor
from kpi.loading.frame import KEY, from_frame, in_memory, own_prices, tell
from kpi.loading.load import refuse_loss
from kpi.pricing.price_file import table_of
from kpi.schema import TABLES
from kpi.store import lake, manifest
from kpi.store.engines import Source
from kpi.store.live import PREFIX
from kpi.store.opening import open_dataset

_LARGE = 200 << 20  # bytes of files beyond which a word says that they can be stored once
_NAME = "opened"
_FRAME_MARKS = ("__dataframe__", "__arrow_c_stream__", "iter_columns", "collect_schema", "to_arrow_table")


def open_source(dataset: str | Path = "default", version: int | None = None) -> Source:
    """The rows of a data set at a version, or those of a file or folder.

    Args:
        dataset: Name of a data set; `db:NAME` is a named database, read in place. Or the path of a file or folder,
            which is read as `kpi.load` reads it, into memory: nothing is stored, and it is read anew each time.
        version: Number of a stored version, the newest when None.

    Returns:
        A `Source`, which every other call takes first.

    Raises:
        StoreError: When there is no such data set, version or connection.
        IngestError: For a file that is not there or cannot be read.

    Example:
        >>> source = kpi.open("sample")
        >>> (source.name, source.version)
        ('sample', 1)
        >>> kpi.profile(kpi.open("requests.csv")).requests
        3
    """
    if not _is_path(dataset):
        return open_dataset(str(dataset), version)
    if version is not None:
        raise StoreError.told("store.no_version:file", dataset=str(dataset)[:60])
    return _in_memory(Path(dataset).expanduser())


def source_of(given: Any) -> Any:
    """What stands where a source is meant: the name of one is opened, a frame is read, all else is left as it is."""
    if isinstance(given, str | Path):
        return open_source(given)
    is_frame = any(hasattr(given, mark) for mark in _FRAME_MARKS) and not isinstance(given, type)
    return from_frame(given) if is_frame else given


def _is_path(given: str | Path) -> bool:
    """Whether a file is meant: no name of a data set has a dot or a slash, and what is stored comes first."""
    if isinstance(given, Path) or (not given.startswith(PREFIX) and set(given) & set("./\\~")):
        return True
    return bool(given) and given not in manifest.names() and Path(given).exists()


def _in_memory(path: Path) -> Source:
    if path.exists() and (size := _bytes(path)) > _LARGE:
        warnings.warn(f"{path.name} has {size >> 20:,} MB, which are read anew each time: "
                      f"kpi.load({str(path)!r}, dataset='mine') stores them once.", stacklevel=4)  # fmt: skip
    prices = own_prices()
    with tempfile.TemporaryDirectory(prefix="kpi-open-") as place:
        staged = Path(place) / "staged"
        done = supervisor.read([path], directory=staged, key=KEY, prices=prices)
        refuse_loss(done.receipt, 0.5)
        with manifest.elsewhere(Path(place) / "home"):
            receipt = lake.commit(_NAME, staged, done.receipt, prices=table_of(prices))
            stored = open_dataset(_NAME)
            tables = {t: stored.run(sa.select(stored.table(t))) for t in TABLES if stored.columns_of(t)}
    source = in_memory(path.name, tables, receipt)
    tell(source, stacklevel=5)
    return source


def _bytes(path: Path) -> int:
    return sum(f.stat().st_size for f in ([path] if path.is_file() else path.rglob("*")) if f.is_file())

"""Open a stored data set as a source: one version, the same rows for as long as it lives."""

import contextlib
import threading
from datetime import datetime

from kpi.errors import StoreError
from kpi.receipts import Receipt
from kpi.store.cache import build_cache, cache_path
from kpi.store.engines import DuckSource, Source
from kpi.store.lake import read_version
from kpi.store.live import PREFIX, open_connection
from kpi.store.manifest import folder, names, no_dataset

WORTH_CACHING = 50_000  # requests below which reading Parquet is as fast


def open_dataset(dataset: str = "default", version: int | None = None) -> Source:
    """The rows of a data set at a version.

    Args:
        dataset: Name of a data set; `db:NAME` is a named database, read in place.
        version: Number of a stored version, the newest when None.

    Returns:
        A `Source`, which every other call takes first.

    Raises:
        StoreError: When there is no such data set, version or connection.

    Example:
        >>> source = kpi.open("sample")
        >>> (source.name, source.version)
        ('sample', 1)
    """
    if dataset.startswith(PREFIX):
        if version is not None:
            raise StoreError.told("store.no_version:in_place", dataset=dataset[:60])
        return open_connection(dataset.removeprefix(PREFIX))
    if dataset not in names():
        raise no_dataset(dataset)
    found = read_version(dataset, version)
    cache = cache_path(folder(dataset), found.fingerprint)
    source = DuckSource(name=dataset, version=found.number, fingerprint=found.fingerprint, files=found.files,
                        cache=cache if cache.exists() else None, verify=found.verify)  # fmt: skip
    source.rekeyed = datetime.fromisoformat(found.rekeyed) if found.rekeyed else None
    return source


def receipt(dataset: str = "default", version: int | None = None) -> Receipt:
    """The receipt of the load that made a version.

    Args:
        dataset: Name of the data set.
        version: Its number, the newest when None.

    Returns:
        The receipt, as `kpi.load` gave it.

    Raises:
        StoreError: When there is no such data set or version.

    Example:
        >>> kpi.receipt("sample").dataset
        'sample'
    """
    return read_version(dataset, version).receipt


def warm(source: Source) -> threading.Thread | None:
    """Build the cache of a large data set in the background and let the source use it; None when there is nothing
    to do.

    For servers, which answer many questions on one version. Answers stay the same, before and after.
    """
    if not isinstance(source, DuckSource) or source.live:
        return None
    found = read_version(source.name, source.version)
    path = cache_path(folder(source.name), found.fingerprint)
    files = found.files.get("requests", [])
    if path.exists() or not files or found.receipt.requests < WORTH_CACHING:
        return None

    def work() -> None:
        with contextlib.suppress(StoreError):  # files that changed meanwhile: whoever asks for them is told
            found.verify("requests")
            if build_cache(path, files):
                source.adopt(path)

    thread = threading.Thread(target=work, name=f"cache of {source.name}", daemon=True)
    thread.start()
    return thread

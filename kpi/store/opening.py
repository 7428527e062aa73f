"""Open a stored data set as a source: one version, the same rows for as long as it lives."""

from __future__ import annotations

from kpi.errors import StoreError
from kpi.store.engines import DuckSource
from kpi.store.lake import read_version
from kpi.store.manifest import names


def open_dataset(dataset: str = "default", version: int | None = None) -> DuckSource:
    """The rows of a data set at a version, the newest when None.

    Raises StoreError when there is no such data set or version.
    """
    if dataset not in names():
        have = ", ".join(names()) or "none yet"
        raise StoreError(
            "store.no_dataset", f"There is no data set {dataset[:60]!r}",
            hint=f"Load one with `kpi load FILE --dataset NAME`; there are: {have}.",
        )  # fmt: skip
    found = read_version(dataset, version)
    return DuckSource(name=dataset, version=found.number, fingerprint=found.fingerprint, files=found.files)

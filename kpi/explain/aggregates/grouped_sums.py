"""One builder for every statement that adds requests up by user and other keys, and the way back into arrays.

A statement has keys, sums and the rows of an arm. Arms that are compared lie below each other in a UNION ALL, because a
row may belong to both. The terms of a metric are whole numbers, so that engines agree to the last digit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from kpi.measure.columns import Columns, conditions
from kpi.measure.slice import Filters, Window
from kpi.stats.types import Array
from kpi.store.engines import Query, Source
from kpi.store.expressions import Expression, whole

Labelled = Mapping[str, Expression]
_DENSE = 2**24  # keys that are told apart by a table rather than by sorting


@dataclass(frozen=True, kw_only=True)
class Arm:
    """The requests of one side of a comparison."""

    filters: Filters = ()
    window: Window | None = None


def grouped_sums(
    source: Source, arm: Arm, *, keys: Labelled, sums: Labelled, number: int | None = None,
    where: Sequence[Expression] = (),
) -> Query:  # fmt: skip
    """The sums of the requests of an arm by keys. number: of the arm, as a column `arm`; where: further conditions."""
    labelled = [column.label(name) for name, column in keys.items()]
    named: list[sa.Label[Any]] = [] if number is None else [whole(number).label("arm")]
    return (
        sa.select(*named, *labelled, *(column.label(name) for name, column in sums.items()))
        .select_from(source.table("requests"))
        .where(*conditions(source, arm.filters, arm.window), *where)
        .group_by(*labelled)
    )


def requests(source: Source) -> Columns:
    """Columns of a request."""
    return Columns(source, source.table("requests"))


def term_sums(i: int, terms: tuple[Expression, Expression], wanted: str = "yxn") -> dict[str, Any]:
    """y0, x0 and n0 of a metric, or those of them that are wanted: the sums of its terms, the rows that know both."""
    y, x = terms
    sums = {"y": sa.func.sum(y), "x": sa.func.sum(x), "n": sa.func.count(x)}
    return {f"{name}{i}": sums[name] for name in wanted}


def numbers(column: pa.ChunkedArray) -> Array:
    """A column as floats, NULL as 0."""
    known = pc.cast(column, pa.float64(), safe=False)
    found: Array = (pc.fill_null(known, 0.0) if known.null_count else known).to_numpy()
    return found


def encoded(column: pa.ChunkedArray) -> tuple[Array, pa.Array]:
    """(code of each row, -1 where NULL; the values)."""
    whole = column.combine_chunks()
    whole = pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole
    coded = whole if isinstance(whole, pa.DictionaryArray) else pc.dictionary_encode(whole)
    return pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64), coded.dictionary


def distinct(key: Array, size: int) -> tuple[Array, Array]:
    """(distinct keys in order, place of each entry among them); keys lie in 0..size, few of them need no sorting."""
    if size > _DENSE:
        return np.unique(key, return_inverse=True)
    seen = np.zeros(size, dtype=bool)
    seen[key] = True
    found = np.flatnonzero(seen)
    place = np.zeros(size, dtype=np.int64)
    place[found] = np.arange(len(found))
    return found, place[key]

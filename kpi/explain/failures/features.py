"""What a sampled request is like, as features that are there or not: attributes, tools, documents, sizes, words."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from kpi.measure.small_cells import FLOOR
from kpi.narrate.wording import format_column
from kpi.stats.types import Array

MIN_REQUESTS = 20  # that must have a feature, and that must not
STOP = 0.5  # a word in more of the requests of a language than this says nothing
MAX_WORDS, MAX_LETTERS = 2000, 2000  # words looked at, letters read of a text
MAX_DOCUMENTS = 1000
_SHOWN = 4  # of the words that always stand together
_MAY_BE_NONE = frozenset({"tool_calls", "retrieved_docs"})
_WORD = re.compile(r"[^\W\d_]{2,}")
_MASK = re.compile(r"\[[A-Z_]+\]")  # what redaction leaves


@dataclass(frozen=True)
class Traits:
    """features: requests x features, 0 or 1. named: kind, name and value of each feature."""

    features: sparse.csr_array
    named: list[tuple[str, str, str]]

    def __len__(self) -> int:
        return len(self.named)


def joined(parts: Sequence[Traits], requests: int) -> Traits:
    """All features side by side."""
    known = [p for p in parts if len(p)]
    features = sparse.hstack([p.features for p in known], format="csr") if known else sparse.csr_array((requests, 0))
    return Traits(features, [n for p in known for n in p.named])


def attributes(rows: pd.DataFrame, columns: Sequence[str], user: Array, *, kind: str = "attribute") -> Traits:
    """Values of dimensions; unknown ones are no feature."""
    parts = []
    for column in columns:
        codes, values = pd.factorize(rows[column], sort=True)
        at = np.flatnonzero(codes >= 0)
        parts.append(supported(at, codes[at], [(kind, column, str(v)) for v in values], len(rows), user))
    return joined(parts, len(rows))


def events(pairs: pd.DataFrame, named: Sequence[tuple[str, str]], user: Array, *, most: int | None = None) -> Traits:
    """Features out of (row, value) pairs in long form: what a request called or retrieved.

    pairs: columns `row` and one for each (kind, column) in `named`, missing where it does not hold.
    """
    parts = []
    for kind, column in named:
        known = pairs[pairs[column].notna()].drop_duplicates(["row", column])
        if most is not None:
            frequent = known[column].value_counts().index[:most]
            known = known[known[column].isin(frequent)]
        codes, values = pd.factorize(known[column], sort=True)
        labels = [(kind, column, str(v)) for v in values]
        parts.append(supported(known["row"].to_numpy(), codes, labels, len(user), user))
    return joined(parts, len(user))


def untrue(rows: pd.DataFrame, columns: Mapping[str, str], user: Array) -> Traits:
    """Flags (1, 0, unknown) that are false. columns: what each is then called."""
    at, code = np.nonzero(rows[list(columns)].to_numpy(dtype=float) == 0)
    return supported(at, code, [("quality", column, told) for column, told in columns.items()], len(rows), user)


def by_unit(found: Traits, code: Array, user: Array) -> Traits:
    """The features of units, which have what one of their requests has. code: of the unit, by request."""
    member = sparse.csr_array((np.ones(len(code)), (code, np.arange(len(code)))), shape=(len(user), len(code)))
    row, which = (member @ found.features).nonzero()
    return supported(row, which, found.named, len(user), user)


def sizes(
    rows: pd.DataFrame, columns: Sequence[str], failed: Array, user: Array, *, low: Collection[str] = ()
) -> Traits:
    """Above what nine in ten successful requests stay at or below; and zero, where a count may be. low: columns where
    it is below what nine in ten reach."""
    parts = []
    for column in columns:
        values = rows[column].to_numpy(dtype=float)
        known = values[~failed & np.isfinite(values)]
        if not len(known):
            continue
        limit = float(np.quantile(known, 0.1 if column in low else 0.9, method="inverted_cdf"))
        kind = "score" if column in low else "stage" if column.endswith("_us") else "size"
        found = [("below", values < limit) if column in low else ("above", values > limit)]
        if column in _MAY_BE_NONE:
            found.append(("none", values == 0))
        for word, there in found:
            shown = word if word == "none" else f"{word} {format_column(column, limit)}"
            at = np.flatnonzero(there)
            parts.append(supported(at, np.zeros(len(at), dtype=int), [(kind, column, shown)], len(rows), user))
    return joined(parts, len(rows))


def words(texts: Sequence[str | None], user: Array, stratum: Array) -> Traits:
    """Words of the texts, without those that half of the requests of a language have."""
    vocabulary: dict[str, int] = {}
    at: list[int] = []
    which: list[int] = []
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            continue
        found = set(_WORD.findall(_MASK.sub(" ", text[:MAX_LETTERS]).lower()))
        which += [vocabulary.setdefault(w, len(vocabulary)) for w in found]
        at += [i] * len(found)
    row, code = np.array(at, dtype=np.int64), np.array(which, dtype=np.int64)
    size = np.bincount(stratum)
    seen = np.zeros((len(size), len(vocabulary)))
    np.add.at(seen, (stratum[row], code), 1)
    large = size >= MIN_REQUESTS
    common = (seen[large] / size[large, None] > STOP).any(axis=0) if large.any() else np.zeros(len(vocabulary), bool)
    frequency = np.where(common, 0, seen.sum(axis=0))
    kept = np.argsort(-frequency, kind="stable")[:MAX_WORDS]
    kept = np.sort(kept[frequency[kept] > 0])
    place = np.full(len(vocabulary), -1)
    place[kept] = np.arange(len(kept))
    chosen = place[code] >= 0
    known = list(vocabulary)
    labels = [("word", "input_text", known[i]) for i in kept.tolist()]
    return _folded(supported(row[chosen], place[code[chosen]], labels, len(user), user))


def _folded(found: Traits) -> Traits:
    """Words that always stand together are one feature."""
    columns = found.features.tocsc()
    alike: dict[bytes, list[int]] = {}
    for i in range(len(found)):
        alike.setdefault(columns.indices[columns.indptr[i] : columns.indptr[i + 1]].tobytes(), []).append(i)
    first = [g[0] for g in alike.values()]
    named = [(*found.named[g[0]][:2], ", ".join(sorted(found.named[i][2] for i in g)[:_SHOWN])) for g in alike.values()]
    return Traits(columns[:, first].tocsr(), named)


def supported(row: Array, code: Array, named: Sequence[tuple[str, str, str]], requests: int, user: Array) -> Traits:
    """The features that enough requests and users have, and enough requests do not."""
    matrix = sparse.csr_array((np.ones(len(row)), (row, code)), shape=(requests, len(named)))
    count = np.bincount(code, minlength=len(named))
    pairs = np.unique(np.stack([code.astype(np.int64), user[row]]), axis=1) if len(row) else np.zeros((2, 0), np.int64)
    users = np.bincount(pairs[0], minlength=len(named))
    kept = np.flatnonzero((count >= MIN_REQUESTS) & (count <= requests - MIN_REQUESTS) & (users >= FLOOR))
    return Traits(matrix[:, kept], [named[i] for i in kept.tolist()])

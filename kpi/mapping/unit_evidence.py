"""What the columns of the same rows say of the units of each other, gathered in one pass.

For each column of money: its ratio to what the tokens cost by the price table that ships with the package, and to the
tokens themselves. For each column of lengths: its ratio to the time between start and end, and how fast it has the
answer written. The user's own prices are left out, so that a preview and a load decide alike.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kpi.pricing.price_file import shipped
from kpi.pricing.price_table import SCALE, Rates

_BINS = 8  # per doubling: medians are good to 5 %
_PER_USD = SCALE * 10**6  # a rate times a token, of which so many are a USD
_MODELS = 2_000  # models of one load whose prices are looked up
Numbers = np.ndarray[Any, np.dtype[np.float64]]


class Medians:
    """A median that does not depend on the order of its numbers, nor on how they are split."""

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()

    def add(self, numbers: Numbers) -> None:
        """Positive numbers; all others are left out."""
        with np.errstate(invalid="ignore"):
            found = numbers[(numbers > 0) & (numbers < np.inf)]
        if len(found):
            bins, counts = np.unique(np.rint(np.log2(found) * _BINS).astype(int), return_counts=True)
            self._bins.update(dict(zip(bins.tolist(), counts.tolist(), strict=True)))

    def median(self, share: float = 0.5) -> float | None:
        """None where no number was added. share: of the numbers that lie below, for other quantiles."""
        wanted, seen = sum(self._bins.values()) * share, 0
        for bin_, count in sorted(self._bins.items()):
            seen += count
            if seen >= wanted:
                return float(2.0 ** (bin_ / _BINS))
        return None

    def spread(self) -> float | None:
        """The quantile of nine tenths by that of one tenth: 1 where all numbers are alike."""
        low, high = self.median(0.1), self.median(0.9)
        return None if low is None or high is None else high / low


class UnitEvidence:
    """Collects, batch by batch. Read `of` when all rows were seen."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Medians] = defaultdict(Medians)
        self._rates: dict[tuple[str, str], Rates | None] = {}

    def add(
        self, money: Mapping[str, tuple[str, Numbers]], lengths: Mapping[str, Numbers], parsed: Mapping[str, Numbers],
        texts: Mapping[str, pa.Array],
    ) -> None:  # fmt: skip
        """Look at some rows.

        money: column -> its field and numbers. lengths: column -> numbers. parsed: numbers by field: tokens, times in
        microseconds. texts: model and provider. What is not a number is NaN.
        """
        for column, (_, values) in money.items():
            self._found["usual", column].add(values)
        for column, values in lengths.items():
            self._found["usual", column].add(values)
        given, returned = parsed.get("input_tokens"), parsed.get("output_tokens")
        if "ended_at" in parsed and "started_at" in parsed:
            took = (parsed["ended_at"] - parsed["started_at"]) / 1e6
            for column, values in lengths.items():
                self._ratio("by_clock", column, values, took)
        if returned is not None:
            for column, values in lengths.items():
                self._ratio("speed", column, returned, values)
        if money and (given is not None or returned is not None):
            self._add_money(money, parsed, texts)

    def of(self, column: str) -> dict[str, Any]:
        """The medians of one column by their names in `ColumnProfile`, with the spread of that beside the clock."""
        found: dict[str, Any] = {what: m for (what, name), medians in self._found.items()
                 if name == column and (m := medians.median()) is not None}  # fmt: skip
        if "by_clock" in found:
            found["clock_spread"] = self._found["by_clock", column].spread()
        return found

    def _ratio(self, what: str, column: str, above: Numbers, below: Numbers) -> None:
        with np.errstate(divide="ignore", invalid="ignore"):
            self._found[what, column].add(np.where(below > 0, above / below, np.nan))

    def _add_money(
        self, money: Mapping[str, tuple[str, Numbers]], parsed: Mapping[str, Numbers], texts: Mapping[str, pa.Array]
    ) -> None:
        zero = np.zeros(len(next(iter(money.values()))[1]))
        given, returned = (np.nan_to_num(parsed.get(n, zero)) for n in ("input_tokens", "output_tokens"))
        asked, said = self._prices(given, returned, parsed, texts) if "model" in texts else (zero, zero)
        expected = {"input_cost": asked, "output_cost": said}
        counted = {"input_cost": given, "output_cost": returned}
        for column, (field, values) in money.items():
            self._ratio("by_token", column, values, counted.get(field, given + returned))
            self._ratio("by_price", column, values, expected.get(field, asked + said))

    def _prices(
        self, given: Numbers, returned: Numbers, parsed: Mapping[str, Numbers], texts: Mapping[str, pa.Array]
    ) -> tuple[Numbers, Numbers]:
        """What input and output of each row cost, in USD; 0 where no price is known. Tiers are left out."""
        models, providers = texts["model"], texts.get("provider")
        if providers is None:
            providers = pa.nulls(len(models), pa.string())
        pairs = pc.binary_join_element_wise(models.fill_null(""), providers.fill_null(""), "\x1f").dictionary_encode()
        found = [self._rates_of(*name.split("\x1f", 1)) for name in pairs.dictionary.to_pylist()]
        codes = pairs.indices.to_numpy(zero_copy_only=False)
        plain, cached, write, output = (
            np.array([getattr(r, n) or 0 if r else 0 for r in found], float)[codes]
            for n in ("input", "cached_read", "cache_write", "output")
        )
        read = np.minimum(np.nan_to_num(parsed.get("cached_read_tokens", np.zeros(len(given)))), given)
        wrote = np.minimum(np.nan_to_num(parsed.get("cache_write_tokens", np.zeros(len(given)))), given - read)
        cached, write = np.where(cached > 0, cached, plain), np.where(write > 0, write, plain)
        asked = (given - read - wrote) * plain + read * cached + wrote * write
        return asked / _PER_USD, returned * output / _PER_USD

    def _rates_of(self, model: str, provider: str) -> Rates | None:
        """The rates of a model; of several sellers, the first by name. None without a price."""
        key = (provider, model)
        if key not in self._rates and len(self._rates) < _MODELS:
            rows = shipped().find(provider or None, model)
            self._rates[key] = min(rows, key=lambda p: p.provider or "").rates if rows else None
        return self._rates.get(key)

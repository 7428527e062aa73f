"""Tokens -> USD, exact to the nano-dollar: the row of the price table that a call falls under, and what it costs.

A model is found by its provider and name, with a short list of spellings that are known to mean the same; never by
likeness. What is not found has no price, which is not a price of 0. Where rows come from: `kpi.pricing.price_file`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from kpi.disk.tables import table_of

SCALE = 10**9  # rates are whole billionths of a USD per million tokens
_PER_NANO = 10**6  # so many of those, times a token, are a nano-dollar
_REMEMBERED = 50_000

_DATA = table_of(__file__, "providers")
PROVIDERS: dict[str, str] = {name: ours for ours, names in _DATA["names"].items() for name in names}
# Others serve open weights, at a price each, under names that people who run the weights themselves use as well: those
# are matched only where the provider is stated.
_MAKERS = sorted(_DATA["kinds"]["makers"])
_NAMES_NOTHING = frozenset(_DATA["kinds"]["names_nothing"])
_DATED = re.compile(r"(.+?)[-@](20\d\d-\d\d-\d\d|20\d{6})(-v\d+(?::\d+)?)?")
_BEDROCK_REGION = re.compile(r"(?:us|eu|apac|ap|jp|au|ca|sa|global|us-gov)\.(?=[a-z0-9-]+\.)")


class _Kinds(NamedTuple):
    """A number for each kind of tokens. None: not stated."""

    input: int | None = None
    output: int | None = None
    cached_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None


class Usage(_Kinds):
    """Tokens of one call. input includes what was read from and written to a cache."""


class Rates(_Kinds):
    """Prices of one row (or of one tier), in billionths of a USD per million tokens."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """One row. call: nano-dollars per call. tiers: (tokens, rates) for prompts above that size, ascending.

    provider: None where the row holds for any. start, until: the days on which it counts, both included. own: from the
    user's file. source: where the fact comes from, with its date.
    """

    provider: str | None
    model: str
    rates: Rates
    call: int = 0
    tiers: tuple[tuple[int, Rates], ...] = ()
    start: date | None = None
    until: date | None = None
    own: bool = False
    source: str = ""

    def holds(self, day: date | None) -> bool:
        """Whether the row counts on a day; without a day the newest row counts, so all do."""
        return day is None or ((not self.start or self.start <= day) and (not self.until or day <= self.until))

    def cost(self, usage: Usage, *, one_call: bool = True) -> int | None:
        """Nano-dollars of a call, rounded once, half up; None when a count or a price that is needed is unknown.

        Tokens read from a cache, written to it, and of reasoning are billed at their own price where there is one,
        else as input, input and output. They are part of the input and the output; counts that cannot be (more cached
        than input, more reasoning than output) stand beside them and are billed besides. one_call: False for tokens
        of several calls, whose prompts were each smaller than the sum, so that no tier is applied.
        """
        read, write, reasoning = usage.cached_read or 0, usage.cache_write or 0, usage.reasoning or 0
        plain, said = usage.input, usage.output
        size = (plain or 0) + (read + write if read + write > (plain or 0) else 0)
        rates = next((r for above, r in reversed(self.tiers) if one_call and size > above), self.rates)
        if plain is not None and read + write <= plain:
            plain -= read + write
        if said is not None and reasoning <= said:
            said -= reasoning
        parts = (
            (plain, rates.input),
            (read, rates.input if rates.cached_read is None else rates.cached_read),
            (write, rates.input if rates.cache_write is None else rates.cache_write),
            (said, rates.output),
            (reasoning, rates.output if rates.reasoning is None else rates.reasoning),
        )
        total = 0
        for tokens, rate in parts:
            if self.call and rate is None:
                continue
            if (tokens is None and rate) or (tokens and rate is None):
                return None
            total += (tokens or 0) * (rate or 0)
        if plain is None and said is None and not self.call:
            return None
        return (total + _PER_NANO // 2) // _PER_NANO + self.call


@dataclass(frozen=True)
class Units:
    """Unit costs in nano-dollars, for what no span reports a cost of; None: not known, and then not counted.

    tool_call: by name of the tool; `default` for all others.
    """

    retrieval: int | None = None
    orchestration: int | None = None
    review_minute: int | None = None
    tool_call: Mapping[str, int] = field(default_factory=dict)

    def tool(self, name: str | None) -> int | None:
        """Nano-dollars of one call of a tool."""
        return self.tool_call.get(name or "", self.tool_call.get("default"))

    @property
    def known(self) -> bool:
        return bool(self.tool_call) or {self.retrieval, self.orchestration, self.review_minute} != {None}


@dataclass(frozen=True, kw_only=True)
class PriceTable:
    """Prices and unit costs. version: a hash of all content; day: of the facts that ship with the package."""

    prices: tuple[Price, ...]
    units: Units = Units()
    version: str = ""
    day: str = ""
    _index: dict[tuple[str | None, str], list[Price]] = field(default_factory=dict, compare=False, repr=False)
    _known: dict[Any, tuple[list[Price], list[Price]]] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        for price in sorted(self.prices, key=lambda p: p.start or date.min, reverse=True):
            self._index.setdefault((price.provider, price.model.lower()), []).append(price)

    @property
    def label(self) -> str:
        """Version and day, as receipts name the table."""
        return f"{self.version} of {self.day}"

    @cached_property
    def dated(self) -> bool:
        """Whether any row counts on some days only."""
        return any(p.start or p.until for p in self.prices)

    @cached_property
    def _sellers(self) -> frozenset[str]:
        return frozenset(p.provider for p in self.prices if p.provider)

    @cached_property
    def _own(self) -> tuple[Price, ...]:
        return tuple(p for p in self.prices if p.own)

    def find(self, provider: str | None, model: str | None, day: date | None = None) -> list[Price]:
        """The row that counts for a model on a day; several where the provider is not known and rows differ.

        In this order: the name as it stands, by its provider, else by any maker; the same without prefixes; the same
        without a date at the end; each time the user's rows first. Empty: no price.
        """
        return self._found(provider, model, day)[0]

    def _found(self, provider: str | None, model: str | None, day: date | None) -> tuple[list[Price], list[Price]]:
        """What `find` finds, and of rows that bill alike only one. Remembered."""
        key = (provider, model, day)
        if key not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            of_day = ([p for p in rows if p.holds(day)] for rows in self._rows(provider, model or ""))
            held = next(filter(None, of_day), [])
            newest = {p.provider: p for p in reversed(held)}
            found = [p for p in held if newest[p.provider] is p]
            self._known[key] = found, list({(p.rates, p.call, p.tiers): p for p in found}.values())
        return self._known[key]

    def cost(
        self, provider: str | None, model: str | None, usage: Usage, day: date | None = None, *, one_call: bool = True
    ) -> int | None:
        """Nano-dollars of a call; None without a price, and where several providers would bill it differently."""
        costs = {p.cost(usage, one_call=one_call) for p in self._found(provider, model, day)[1]}
        return costs.pop() if len(costs) == 1 else None

    def _rows(self, provider: str | None, model: str) -> Iterator[list[Price]]:
        """Rows that a name may mean, the surest first; newest first within each list."""
        stated = provider_slug(provider)
        names = list(dict.fromkeys(self._spellings(stated, model.strip().lower())))
        for seller, name in (*names, *((s, short) for s, n in names if (short := _undated(n)))):
            of_seller = self._index.get((seller, name), []) if seller else []
            yield [p for p in of_seller if p.own]
            yield self._index.get((None, name), [])
            yield [p for p in of_seller if not p.own]
            if stated not in _NAMES_NOTHING:
                yield [p for p in self._own if p.model.lower() == name]
                yield [p for maker in _MAKERS for p in self._index.get((maker, name), ()) if not p.own]

    def _spellings(self, stated: str | None, model: str) -> Iterator[tuple[str | None, str]]:
        """(provider, name) pairs that say the same in other words, without guessing."""
        seller = stated if stated in self._sellers else None  # a gateway is no seller
        yield seller, model
        if seller == "bedrock" and model.startswith("arn:"):
            model = model.rpartition("/")[2]
            yield seller, model
        if "models/" in model and seller in (None, "gemini", "vertex_ai"):  # publishers/google/models/gemini-…
            model = model.rpartition("models/")[2]
            yield seller, model
        head, slash, rest = model.partition("/")
        if slash and provider_slug(head) in self._sellers and seller in (None, provider_slug(head)):
            seller, model = provider_slug(head), rest
            yield seller, model
        if seller in (None, "bedrock") and _BEDROCK_REGION.match(model):
            yield seller, _BEDROCK_REGION.sub("", model, count=1)
        if seller in (None, "vertex_ai", "gemini") and "@" in model:
            yield seller, model.partition("@")[0]


@lru_cache(maxsize=1024)
def provider_slug(stated: str | None) -> str | None:
    """The name of a provider in the table, for any of its names in traces."""
    if not stated:
        return None
    folded = stated.strip().lower()
    return PROVIDERS.get(folded, folded)


def _undated(model: str) -> str | None:
    """The name without the date at its end, or None where it has none: `gpt-4o-2024-08-06` -> `gpt-4o`."""
    found = _DATED.fullmatch(model)
    return f"{found[1]}{found[3] or ''}" if found else None


NO_PRICES = PriceTable(prices=())

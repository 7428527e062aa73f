"""The price files: facts that ship with the package, and the user's own `prices.toml` in the state folder.

Both have one grammar (docs/prices.md). Rows of the user's file win; only it holds unit costs, for there are no facts
about those. Errors name the line or the key.
"""

import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

from kpi.disk import durable, full
from kpi.errors import PriceError
from kpi.pricing.price_table import SCALE, Price, PriceTable, Rates, Units, provider_slug

FILE = "prices.toml"
_SHIPPED, _TEMPLATE = (Path(__file__).with_name(name) for name in (FILE, "prices.template.toml"))
_RATES = ("input", "output", "cached_read", "cache_write", "reasoning")
_KEYS = frozenset({"provider", "model", "from", "until", "source", "tiers", "call", *_RATES})
_DEAREST = 10**6  # USD: nothing that is counted here costs more


def shipped() -> PriceTable:
    """The table that comes with the package, without anything of the user's."""
    return table_of(None)


@lru_cache(maxsize=8)
def table_of(text: str | None) -> PriceTable:
    """The shipped table under the rows and unit costs of a user's file. Raises PriceError naming line or key."""
    base = _SHIPPED.read_text(encoding="utf-8")
    facts = tomllib.loads(base, parse_float=Decimal)
    origin = f"{facts['source']}, {facts['date'].isoformat()}"
    prices = [_price(row, origin, own=False) for row in facts["price"]]
    units = Units()
    if text is not None:
        own, units = _own_file(text)
        prices += own
    version = hashlib.sha256(f"{base}\0{text or ''}".encode()).hexdigest()[:12]
    return PriceTable(prices=tuple(prices), units=units, version=version, day=facts["date"].isoformat())


def current(home: Path) -> PriceTable:
    """The shipped table under the user's file in the state folder. Raises PriceError."""
    return table_of(user_text(home))


def user_text(home: Path) -> str | None:
    """The text of the user's price file, or None where there is none. Raises PriceError when it cannot be read."""
    path = home / FILE
    try:
        return path.read_text(encoding="utf-8") if path.exists() else None
    except (OSError, UnicodeDecodeError) as error:
        raise PriceError.told("prices.unreadable", file=FILE, kind=type(error).__name__) from error


def init(home: Path) -> Path:
    """Write the commented template. Raises PriceError where there is a file already: it is never replaced."""
    path = home / FILE
    try:
        with full.told(full.STORING, f"writing {FILE}"):
            durable.write(path, _TEMPLATE.read_bytes(), once=True)
    except FileExistsError as error:
        raise PriceError.told("prices.exists", path=path) from error
    return path


def _own_file(text: str) -> tuple[list[Price], Units]:
    try:
        data = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise PriceError.told("prices.syntax", row=int(line[1]) if line else None, file=FILE) from error
    _only(data, frozenset({"price", "units", "source", "date"}), "the file", None)
    listed = data.get("price", [])
    if not isinstance(listed, list) or not all(isinstance(row, dict) for row in listed):
        raise _wrong("price", "is not a list of rows", "Write each row under a [[price]] header.", None)
    lines = [i for i, line in enumerate(text.splitlines(), 1) if re.match(r"\s*\[\[\s*price\s*\]\]", line)]
    places: Iterable[int | None] = lines if len(lines) == len(listed) else [None] * len(listed)
    own = [_price(row, f"your {FILE}", own=True, line=line) for row, line in zip(listed, places, strict=True)]
    return own, _units(data.get("units", {}))


def _price(row: Mapping[str, Any], origin: str, *, own: bool, line: int | None = None) -> Price:
    if own:
        _only(row, _KEYS, "a [[price]] row", line)
    model, provider = row.get("model"), row.get("provider")
    if not isinstance(model, str) or not model.strip():
        raise _wrong("model", "is missing", "Each [[price]] row names its model as the traces do.", line)
    if provider is not None and not isinstance(provider, str):
        raise _wrong("provider", "is no text", 'Write provider = "openai", or leave it out for any provider.', line)
    start, until = _day(row, "from", line), _day(row, "until", line)
    if start and until and start > until:
        raise _wrong("from", "lies after until", "Exchange the two days.", line)
    tiers = row.get("tiers", [])
    if not isinstance(tiers, list) or not all(isinstance(t, dict) and isinstance(t.get("above"), int) for t in tiers):
        raise _wrong("tiers", "is no list of tiers", "Write tiers = [{above = 200000, input = 6, output = 22}].", line)
    if own:
        for tier in tiers:
            _only(tier, frozenset({"above", *_RATES}), "a tier", line)
    price = Price(
        provider=provider_slug(provider), model=model.strip(), rates=_rates(row, line), own=own,
        call=(_amount(row["call"], "call", line) if "call" in row else 0),
        tiers=tuple(sorted(((int(t["above"]), _rates(t, line)) for t in tiers), key=lambda t: t[0])),
        start=start, until=until, source=str(row.get("source") or origin))  # fmt: skip
    if own and price.rates.input is None and not price.call and not price.tiers:
        raise _wrong("input", "is missing", "Give USD per million input tokens, 0 if they are free.", line)
    return price


def _rates(row: Mapping[str, Any], line: int | None) -> Rates:
    return Rates(**{name: _amount(row[name], name, line) for name in _RATES if name in row})


def _amount(value: Any, key: str, line: int | None) -> int:
    """USD -> billionths, which are per million tokens those of `Rates` and per piece nano-dollars."""
    number = isinstance(value, int | Decimal) and not isinstance(value, bool) and Decimal(value).is_finite()
    if not number or not 0 <= value <= _DEAREST:
        raise _wrong(key, "is no amount", "Give USD as a number of 0 or more.", line)
    scaled = Decimal(value) * SCALE
    if scaled != scaled.to_integral_value():
        raise _wrong(key, "is finer than a billionth of a USD", "Give at most nine decimals.", line)
    return int(scaled)


def _day(row: Mapping[str, Any], key: str, line: int | None) -> date | None:
    value = row.get(key)
    if value is None or (isinstance(value, date) and not isinstance(value, datetime)):
        return value
    raise _wrong(key, "is no day", f"Write {key} = 2026-03-01, without quotes.", line)


def _units(data: Any) -> Units:
    if not isinstance(data, dict):
        raise _wrong("units", "is no table", "Write unit costs below a [units] header.", None)
    named = {"retrieval_usd": "retrieval", "orchestration_usd": "orchestration", "review_minute_usd": "review_minute"}
    _only(data, frozenset({*named, "tool_call"}), "[units]", None)
    tools = data.get("tool_call", {})
    if not isinstance(tools, dict):
        raise _wrong("tool_call", "is no table", "Write a line for each tool below [units.tool_call].", None)
    amounts = {to: _amount(data[key], key, None) for key, to in named.items() if key in data}
    return Units(**amounts, tool_call={name: _amount(v, f"tool_call.{name}", None) for name, v in tools.items()})


def _only(row: Mapping[str, Any], known: frozenset[str], where: str, line: int | None) -> None:
    for key in row:
        if key not in known:
            raise _wrong(key[:40], f"is not known in {where}", f"Known are {', '.join(sorted(known))}.", line)


def _wrong(key: str, what: str, hint: str, line: int | None) -> PriceError:
    return PriceError("prices.key", f"{FILE}: {key!r} {what}", hint=hint, row=line)

"""The register.

Which KPIs are governed, their limits, owner and next step per state. Data in TOML, checked on reading.
"""

import hashlib
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from kpi.errors import MetricError, RegisterError, choices
from kpi.measure import own_metrics
from kpi.measure.metrics import METRICS, Direction, Metric
from kpi.narrate.names import WORDS
from kpi.store.engines import Source
from kpi.store.manifest import folder, names

COMPUTED, _DEFAULT_ACTIONS = WORDS["computed"], WORDS["next"]
_BUILT_IN = Path(__file__).with_name("register.toml")
_REQUIRED = ("metric", "target", "watch", "off", "owner")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One governed KPI. Limits are in the unit of the metric; watch and off lie on the bad side of target."""

    metric: str
    label: str
    unit: str
    direction: Direction
    definition: str
    target: float
    watch: float
    off: float
    owner: str
    min_n: int = 30
    max_age_days: float = 3.0
    window: str = "28d"
    cadence: str = "weekly"
    weight: float = 1.0
    actions: dict[str, str] = field(default_factory=dict)

    def action(self, state: str) -> str:
        """Next step in a state."""
        return self.actions.get(state) or _DEFAULT_ACTIONS[state]


@dataclass(frozen=True, kw_only=True)
class Register:
    """The governed KPIs in the order of the file, and the metrics of the team's own that it declares, by name.

    stamp: digits that differ where a file of a data set's own differs; "" for the built-in one.
    """

    entries: tuple[Entry, ...]
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    stamp: str = ""

    def __getitem__(self, metric: str) -> Entry:
        return next(e for e in self.entries if e.metric == metric)

    def only(self, metrics: Sequence[str]) -> Self:
        """The register with these KPIs alone. Raises MetricError for one that it does not govern."""
        have = [e.metric for e in self.entries]
        for name in metrics:
            if name not in have:
                raise MetricError.told("register.unknown", name=name[:60], remedy=choices(name, have))
        return replace(self, entries=tuple(e for e in self.entries if e.metric in metrics))


def load_register(path: Path | None = None) -> Register:
    """The register in a TOML file.

    Args:
        path: Of the file; the built-in one when None.

    Returns:
        A `Register`: KPIs with target, bounds, owner and actions.

    Raises:
        RegisterError: Names entry and field.

    Example:
        >>> len(kpi.load_register().entries) > 0
        True
    """
    try:
        data = tomllib.loads((path or _BUILT_IN).read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        why = type(error).__name__ if isinstance(error, OSError) else str(error)[:200]
        raise _wrong("unreadable", f"The register cannot be read: {why}", "Fix the file.") from error
    own = own_metrics.declared(data)
    if own and path is not None and "kpi" not in data:  # metrics alone: the KPIs stay
        return Register(entries=load_register().entries, metrics=own)
    entries = data.get("kpi", [])
    if not isinstance(entries, list) or not entries:
        raise _wrong("empty", "The register names no KPI", "Add at least one [[kpi]] table.")
    index = data.get("index", {})
    weights = _weights(index.get("weights", {}) if isinstance(index, dict) else None)
    found = tuple(_entry(e, i, weights, own) for i, e in enumerate(entries, start=1))
    names = [e.metric for e in found]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice:
        raise _wrong("twice", f"The register names {twice!r} twice", "Keep one entry per metric.")
    return Register(entries=found, metrics=own)


def register_of(source: Source) -> Register:
    """The register of a data set: `register.toml` in its folder, else the built-in one. Raises RegisterError."""
    own = folder(source.name) / "register.toml" if source.version and source.name in names() else None
    return _kept(own, own.stat().st_mtime_ns) if own is not None and own.exists() else load_register()


@lru_cache(maxsize=64)
def _kept(path: Path, changed: int) -> Register:
    return replace(load_register(path), stamp=hashlib.sha256(path.read_bytes()).hexdigest()[:16])


def _wrong(code: str, message: str, hint: str, row: int | None = None) -> RegisterError:
    return RegisterError(f"register.{code}", message, hint=hint, row=row)


def _number(value: Any, field_: str, of: str, row: int | None = None) -> float:
    """A finite number out of TOML, where true and "5" are none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _wrong("field", f"{field_!r} of {of} is no number", "Write a plain number.", row)
    return float(value)


def _weights(found: Any) -> dict[str, float]:
    if not isinstance(found, dict) or any(_number(w, "weights", f"{n[:60]!r}") < 0 for n, w in found.items()):
        raise _wrong("field", "'weights' of the index must be 0 or more", "Write metric = 1.")
    return {n: float(w) for n, w in found.items()}


def _entry(data: Any, number: int, weights: dict[str, float], own: Mapping[str, Metric]) -> Entry:
    if not isinstance(data, dict):
        raise _wrong("field", f"KPI {number} of the register is no table", "Write [[kpi]].", number)
    if lacking := next((name for name in _REQUIRED if name not in data), None):
        needed = "Every KPI needs metric, target, watch, off and owner."
        raise _wrong("field", f"KPI {number} of the register lacks {lacking!r}", needed, number)
    name = str(data["metric"])
    if name in COMPUTED:
        label, unit, definition = COMPUTED[name]
        direction: Direction = "down"
    elif (m := METRICS.get(name) or own.get(name)) is not None:
        label, unit, definition, direction = m.label, m.unit, m.definition, m.direction
    else:
        told = f"KPI {number} of the register names the unknown metric {name[:60]!r}"
        raise _wrong("metric", told, "`kpi metrics` lists them all; declare your own in [[metric]].", number)
    if direction == "none":
        told = f"{name!r} has no better direction, so it cannot have limits"
        raise _wrong("direction", told, "Choose another metric.", number)
    of = f"KPI {number} of the register ({name!r})"
    limits = [_number(data[k], k, of, number) for k in ("target", "watch", "off")]
    if limits != sorted(limits, reverse=direction == "up"):
        raise _wrong("limits", f"The limits of {name!r} are out of order",
                     "From good to bad: target, watch, off.", number)  # fmt: skip
    known: dict[str, Any] = {k: str(data[k]) for k in ("window", "cadence") if k in data}
    known |= {k: _number(data[k], k, of, number) for k in ("min_n", "max_age_days") if k in data}
    if "min_n" in known:
        known["min_n"] = int(known["min_n"])
    if not isinstance(data.get("action", {}), dict):
        raise _wrong("field", f"'action' of {of} is no table", "Write [kpi.action] below the KPI.", number)
    return Entry(metric=name, label=label, unit=unit, direction=direction, definition=definition, target=limits[0],
                 watch=limits[1], off=limits[2], owner=str(data["owner"]), weight=float(weights.get(name, 1.0)),
                 actions={k: str(v) for k, v in data.get("action", {}).items() if k in _DEFAULT_ACTIONS},
                 **known)  # fmt: skip

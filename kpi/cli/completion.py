"""What the shell offers when a person presses the tab key: data sets, metrics, dimensions.

Each answers with nothing where something is wrong: a traceback in the middle of a line helps nobody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import typer

import kpi

Offer = tuple[str, str]  # what is typed, what it means
_SAFE = re.compile(r"[\w.:-]+")  # names come from exports: no other character may reach a shell


def _offering(find: Callable[[], Iterable[tuple[str, object]]]) -> Callable[[str], list[Offer]]:
    return lambda incomplete: _offers(incomplete, find)


def _datasets() -> Iterable[Offer]:
    yield from ((d.name, f"version {d.version}") for d in kpi.datasets())
    yield from ((f"db:{c.name}", c.description) for c in kpi.connections() if not c.problem)


def _metrics() -> list[Offer]:
    return [(m.name, m.label) for m in kpi.METRICS.values()]


datasets = _offering(_datasets)  # stored data sets, and named databases as `db:NAME`
connections = _offering(lambda: ((c.name, c.description) for c in kpi.connections()))
metrics = _offering(_metrics)
decomposable = _offering(lambda: [*_metrics(), ("latency", "Latency by stage")])


def metric_list(incomplete: str) -> list[Offer]:
    """The last of metrics that commas separate."""
    return _listed(incomplete, metrics(""))


def dimension(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Dimensions of the data set that `--dataset` names."""
    return _offers(incomplete, lambda: _dimensions(ctx))


def dimension_list(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """The last of dimensions that commas separate."""
    return _listed(incomplete, dimension(ctx, ""))


def condition(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """`DIM=` and, behind it, the values that the data set has, most frequent first."""
    name, equals, value = incomplete.partition("=")
    if not equals:
        return [(f"{found}=", told) for found, told in dimension(ctx, name)]
    return [(f"{name}={found}", told) for found, told in _offers(value, lambda: _profile(ctx).dimensions.get(name, ()))]


def _profile(ctx: typer.Context) -> kpi.Profile:
    return kpi.profile(kpi.open(ctx.params.get("dataset") or "default", ctx.params.get("version")))


def _dimensions(ctx: typer.Context) -> list[Offer]:
    return [(name, f"{len(values)} values") for name, values in _profile(ctx).dimensions.items() if values]


def _offers(incomplete: str, find: Callable[[], Iterable[tuple[str, object]]]) -> list[Offer]:
    try:
        found = [(str(name), str(told)) for name, told in find()]
    except Exception:
        return []
    return [(name, told if told.isprintable() else "") for name, told in found
            if name.startswith(incomplete) and _SAFE.fullmatch(name)]  # fmt: skip


def _listed(incomplete: str, offers: Iterable[Offer]) -> list[Offer]:
    before, comma, last = incomplete.rpartition(",")
    used = before.split(",")
    return [(f"{before}{comma}{name}", told) for name, told in offers if name.startswith(last) and name not in used]

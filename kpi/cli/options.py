"""Options that commands share: the data set, the slice, `--json`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

import kpi
from kpi.cli import completion
from kpi.cli.command import Function, fail
from kpi.cli.exits import FINE, REASONS, doubting, doubts
from kpi.errors import KpiError, choices

SLICE, ENDING = "Slice", "Exit code"  # panels of the help
Given = str | None  # of an option that need not be given
Complete = Callable[..., list[completion.Offer]]
_COMPLETED: dict[str, Complete] = {
    "DIM": completion.dimension, "DIM,DIM": completion.dimension_list, "DIM=VALUE": completion.condition,
    "METRIC": completion.metrics, "M,M": completion.metric_list, "CONNECTION": completion.connections,
}  # fmt: skip


def option(
    flag: str, metavar: str | None, help: str, complete: Complete | None = None, panel: str | None = None
) -> Any:
    """What stands behind the type of an option. metavar: what its value is called, None for a flag or a number; what
    completes it follows from that where it is not given."""
    complete = complete or _COMPLETED.get(metavar or "")
    return typer.Option(flag, metavar=metavar, help=help, autocompletion=complete, rich_help_panel=panel)


def argument(metavar: str, help: str, complete: Complete | None = None) -> Any:
    """The same for what is given by its position."""
    return typer.Argument(metavar=metavar, help=help, autocompletion=complete or _COMPLETED.get(metavar))


_sliced = functools.partial(option, panel=SLICE)
_ending = functools.partial(option, panel=ENDING)
Json = Annotated[bool, option("--json", None, "Print JSON for scripts.")]
Dataset = Annotated[str, option("--dataset", "NAME", "Data set.", completion.datasets)]
GivenDataset = Annotated[Given, argument("DATASET", "Data set; or --dataset.", completion.datasets)]
NamedDataset = Annotated[Given, option("--dataset", "NAME", "Data set (default: default).", completion.datasets)]
Version = Annotated[int | None, option("--version", None, "Stored version (default: the newest).")]
Allow = Annotated[
    list[str] | None, option("--allow", "NAME", "Column or metadata key to keep as well; may be repeated.")
]
MappingFile = Annotated[Path | None, option("--mapping", "FILE", "What the columns mean (TOML).")]
By = Annotated[str, option("--by", "DIM,DIM", "Dimensions.")]


def chosen(given: str | None, named: str | None) -> str:
    """A data set that may be given by position or as `--dataset`. Raises BadParameter where both differ."""
    if given is not None and named is not None and given != named:
        raise typer.BadParameter(f"Two data sets are named, {given!r} and {named!r}. Name one.")
    return next((name for name in (given, named) if name is not None), "default")


def listed(text: str) -> list[str]:
    """The parts of a text that commas separate."""
    return [part.strip() for part in text.split(",") if part.strip()]


@dataclass(frozen=True)
class SliceOptions:
    """The options that choose a slice, as they were typed."""

    dataset: Annotated[
        str, _sliced("--dataset", "NAME", "Data set; db:NAME is a named database, read in place.", completion.datasets)
    ] = "default"
    version: Annotated[int | None, _sliced("--version", None, "Stored version (default: the newest).")] = None
    last: Annotated[Given, _sliced("--last", "28d", "Window back from the end of the data: 28d, 24h, 2w, all.")] = None
    start: Annotated[Given, _sliced("--from", "TIME", "Start of the window, ISO 8601.")] = None
    end: Annotated[Given, _sliced("--to", "TIME", "End of the window (exclusive), ISO 8601.")] = None
    where: Annotated[list[str] | None, _sliced("--where", "DIM=VALUE", "Filter; may be repeated.")] = None
    vs: Annotated[
        str, _sliced("--vs", "BASELINE", "previous, weekdays, none, 2026-09-01..2026-10-01 or prompt_version:p6.")
    ] = "previous"
    tz: Annotated[str, _sliced("--tz", "ZONE", "Time zone in which days begin.")] = "UTC"
    least: Annotated[int | None, _ending("--least", None, "Fewer requests cannot tell (default: 100 to judge).")] = None
    stale_after: Annotated[
        float | None, _ending("--stale-after", None, "Days after which the newest request is too old (default: 3).")
    ] = None
    fail_on: Annotated[str, _ending("--fail-on", "WHY,WHY", f"What ends with 1 or 2: {', '.join(REASONS)}.")] = (
        ",".join(REASONS)
    )

    def windowed(self) -> bool:
        """Whether a window is asked for by name."""
        return bool(self.last or self.start or self.end)

    def slice(self) -> kpi.Slice:
        """The slice that was asked for. Raises SliceError for what cannot be understood."""
        from kpi.measure.slice import parse_filters, read_time

        start, end = (read_time(t, self.tz) if t else None for t in (self.start, self.end))
        last = None if start or end else (self.last or "28d")
        return kpi.Slice(dataset=self.dataset, version=self.version, last=last, start=start, end=end, baseline=self.vs,
                         filters=parse_filters(self.where or []), tz=self.tz)  # fmt: skip

    def open(self) -> kpi.Source:
        """The data set. Raises StoreError where there is none."""
        return kpi.open(self.dataset, self.version)

    def ask(
        self, looked: kpi.Slice | None = None, *, every: str | None = None, metrics: Sequence[str] = ()
    ) -> tuple[kpi.Source, kpi.Slice]:
        """The data set and the slice (`looked`, else that of the options), after it was said what is in doubt."""
        source = self.open()
        looked = looked or self.slice()
        self.note(source, looked, every=every, metrics=metrics)
        return source, looked

    def note(
        self, source: kpi.Source, looked: kpi.Slice, *, every: str | None = None, metrics: Sequence[str] = ()
    ) -> None:
        """Say the window, and what keeps an answer from being one: see `REASONS`."""
        found = doubts()
        found.look(source, looked, timed=self.windowed() or every is not None, least=self.least,
                   stale=self.stale_after)  # fmt: skip
        found.need(source, metrics)

    def reasons(self) -> list[str]:
        """What --fail-on names. Raises BadParameter for a word that is none."""
        asked = listed(self.fail_on)
        for word in asked:
            if word not in REASONS:
                raise typer.BadParameter(f"--fail-on has no {word[:40]!r}. {choices(word, REASONS)}")
        return asked


def with_slice(function: Function) -> Function:
    """Spread the parameter `asked: SliceOptions` of a command into one option a field."""
    hints = get_type_hints(SliceOptions, include_extras=True)
    own = inspect.signature(function, eval_str=True)
    named = inspect.Parameter.KEYWORD_ONLY
    spread = [inspect.Parameter(f.name, named, default=f.default, annotation=hints[f.name])
              for f in fields(SliceOptions)]  # fmt: skip
    kept = [p.replace(kind=named) for p in own.parameters.values() if p.name != "asked"]

    @functools.wraps(function)
    def run(**given: Any) -> int:
        asked = SliceOptions(**{f.name: given.pop(f.name) for f in fields(SliceOptions)})
        wanted, json = asked.reasons(), bool(given.get("json"))
        with doubting(function.__name__, json=json) as found:
            try:
                code = function(asked=asked, **given)
            except KpiError as error:
                code = fail(error, json=json)
                return found.code(FINE, wanted) if found.explain(error) else code
        return found.code(code, wanted)

    run.__signature__ = own.replace(parameters=[*kept, *spread])  # type: ignore[attr-defined]
    return run

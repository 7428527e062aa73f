"""Metrics of a team's own: a rate, mean, ratio, quantile, sum or count over any column or score that its data carry.

Made in Python (`kpi.share`, `kpi.mean`, `kpi.ratio`, `kpi.quantile`) or written down in the register of a data set,
they are metrics like the built-in ones: same intervals, comparisons and searches. A column is named as people call it:
a canonical one, one of the export (`revenue`, `compiles`), or a score (`judge:tone`, `score:tone`). A condition
compares it with a value: `judge:tone >= 4`, `plan == pro`. Nothing of it is code or SQL.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypedDict, Unpack

from kpi.errors import MetricError, RegisterError
from kpi.mapping.parse_values import FALSE_WORDS, TRUE_WORDS
from kpi.measure import own_terms
from kpi.measure.metrics import COVERAGE, METRICS, OWN_KINDS, Metric, coverage, metric
from kpi.measure.own_terms import Condition, physical
from kpi.measure.profile import MeasureRange, Profile, profile
from kpi.schema import MEASURE_PREFIX, REQUESTS, dimension_name
from kpi.store.engines import Source
from kpi.store.manifest import folder, names

OwnKind = Literal["rate", "mean", "ratio", "quantile", "sum", "count"]
UNITS = {"request": "", "user": "user_key", "session": "session_id"}  # what counts once -> its column
COMPARABLE = ("rate", "ratio", "incidence", "quantile")  # kinds of metrics that have an interval
_NAME = re.compile(r"[^\W\d]\w{0,59}")


class Options(TypedDict, total=False):
    """What may be said of a metric of a team's own beside how it is made."""

    name: str
    label: str
    definition: str
    unit: str
    direction: Literal["up", "down", "none"]
    smallest: float
    min_n: int


def share(of: str, *, per: str = "request", **options: Unpack[Options]) -> Metric:
    """The share of requests for which a boolean column or a condition holds.

    Args:
        of: A boolean column, or a condition such as "judge:tone >= 4"; rows where it is unknown are left out.
        per: "request"; or "user", "session": the share of them for which it holds at least once.
        options: name, label, definition, direction ("up", "down", "none"; "up" if not said), smallest (the smallest
            difference that matters, 0.01 = 1 pp), min_n.

    Returns:
        A `Metric` of unit "share".

    Raises:
        MetricError: For an option or a condition that cannot be read.

    Example:
        >>> kpi.share("retrieved_docs >= 3", name="well_fed").unit
        'share'
    """
    return _made({"kind": "rate", "of": of, **options}, _metric_error, per)


def mean(of: str, *, per: str = "request", **options: Unpack[Options]) -> Metric:
    """The mean of a numeric column or score over the requests where it is known.

    Args:
        of: The column.
        per: "request"; or "user", "session" for the sum of each, such as revenue per user. A unit counts once in each
            group in which it is; `kpi.summarise` and `kpi.detect` give it, searches and comparisons refuse it.
        options: As of `kpi.share`, and unit ("count" if not said; "usd", "ms", "tokens" are known to the pages);
            smallest is then a part of the value (0.05 = 5 %), or a step in the unit where values may be negative.

    Returns:
        A `Metric`.

    Raises:
        MetricError: For an option that is unknown.

    Example:
        >>> kpi.mean("turns", direction="down").kind
        'ratio'
    """
    return _made({"kind": "mean", "of": of, **options}, _metric_error, per)


def ratio(of: str, per: str, **options: Unpack[Options]) -> Metric:
    """The sum of one column over the sum of another, of the requests where both are known.

    Args:
        of: The column above, or a condition, whose rows count 1.
        per: The column below, or a condition.
        options: As of `kpi.mean`.

    Returns:
        A `Metric`.

    Raises:
        MetricError: For an option that is unknown.

    Example:
        >>> kpi.ratio("output_tokens", "input_tokens", unit="share").name
        'output_tokens_per_input_tokens'
    """
    return _made({"kind": "ratio", "of": of, "per": per, **options}, _metric_error)


def quantile(of: str, q: float, **options: Unpack[Options]) -> Metric:
    """A quantile of a numeric column or score that is never negative, good to 0.5 % of itself.

    Args:
        of: The column.
        q: Above 0 and below 1: 0.95 for the value that 95 % of the requests stay at or below.
        options: As of `kpi.mean`.

    Returns:
        A `Metric`.

    Raises:
        MetricError: For an option that is unknown.

    Example:
        >>> kpi.quantile("turns", 0.95).q
        0.95
    """
    return _made({"kind": "quantile", "of": of, "q": q, **options}, _metric_error)


def metrics_of(source: Source) -> dict[str, Metric]:
    """Every metric that a data set knows: the built-in ones and those that its register declares.

    Args:
        source: Where the rows are.

    Returns:
        By name, those of the register last.

    Raises:
        RegisterError: Where its register declares one that cannot be read.

    Example:
        >>> "task_success" in kpi.metrics_of(source)
        True
    """
    return {**METRICS, **_of_register(source)}


def metric_of(source: Source, named: str | Metric) -> Metric:
    """The metric of that name in a data set. Raises MetricError for one that is unknown or the data cannot give."""
    if isinstance(named, str):
        if named in METRICS:
            return METRICS[named]
        own, of = _of_register(source), named.removesuffix(COVERAGE)
        if of != named and of in own:
            return coverage(own[of])
        named = own[named] if named in own else metric(named, more=tuple(own))
    return _check(source, named) if named.own else named


class Unfit(NamedTuple):
    """Why a metric of the wrong kind cannot be taken: code, message with {0} for the metric, remedy."""

    code: str
    message: str
    hint: str


def metric_of_kind(source: Source, named: str | Metric, kinds: Collection[str], otherwise: Unfit) -> Metric:
    """The same, of one of these kinds. Raises MetricError for any other."""
    found = metric_of(source, named)
    if found.kind not in kinds:
        raise MetricError(otherwise.code, otherwise.message.format(found), hint=otherwise.hint)
    return found


def supported(source: Source, names: Sequence[str], kinds: Collection[str] = COMPARABLE) -> list[Metric]:
    """Of the built-in metrics of these names, and then of a team's own, those that the data hold and that are such."""
    known = profile(source)
    found = [METRICS[n] for n in names if known.supports(METRICS[n])]
    for own in _of_register(source).values():
        if own.kind in kinds and known.supports(own):
            with contextlib.suppress(MetricError):  # its values are not what it needs: whoever asks for it is told
                found.append(_check(source, own))
    return found


def declared(data: Mapping[str, Any]) -> dict[str, Metric]:
    """The metrics of the `[[metric]]` tables of a register, read from TOML. Raises RegisterError naming the field."""
    tables = data.get("metric", [])
    if not isinstance(tables, list):
        raise RegisterError("register.field", "'metric' of the register is no table", hint="Write [[metric]].")
    found: dict[str, Metric] = {}
    for number, table in enumerate(tables, start=1):

        def error(code: str, text: str, hint: str, number: int = number) -> RegisterError:
            return RegisterError(f"register.{code}", f"Metric {number} of the register: {text}", hint=hint, row=number)

        if not isinstance(table, dict) or not {"name", "kind", "of"} <= table.keys():
            raise error("field", "it needs name, kind and of", 'Write name = "retention", kind = "rate", of = "kept".')
        made = _made(table, error)
        if made.name in found:
            raise error("twice", f"{made.name!r} is declared twice", "Give one of them another name.")
        found[made.name] = made
    return found


# --- from options to a metric ----------------------------------------------------------------------------------------


def _metric_error(code: str, text: str, hint: str) -> MetricError:
    return MetricError(f"metric.{code}", text, hint=hint)


def _made(given: Mapping[str, Any], error: Any, each: str = "request") -> Metric:
    fields = {"kind", "of", "per", "q", *Options.__annotations__}
    if unknown := sorted(given.keys() - fields):
        near = difflib.get_close_matches(str(unknown[0]), fields, n=1)
        raise error("field", f"there is no option {str(unknown[0])[:60]!r}",
                    f"Did you mean {near[0]}?" if near else f"Options are {', '.join(sorted(fields))}.")  # fmt: skip
    if each not in UNITS:
        raise error("per", f"nothing is counted per {each[:40]!r}", f"Write one of {', '.join(UNITS)}.")
    kind = given["kind"]
    if kind not in OWN_KINDS:
        raise error("kind", f"there is no kind {str(kind)[:40]!r}", f"Write one of {', '.join(OWN_KINDS)}.")
    if kind == "ratio" and "per" not in given:
        raise error("field", "a ratio needs per", "Name the column below the line.")
    of = _condition(given["of"], "of", error)
    per = _condition(given["per"], "per", error) if kind == "ratio" else None
    if of.test and kind in ("mean", "quantile", "sum"):
        raise error("of", f"a {kind} needs a column, not a condition", "A condition makes a rate or a count.")
    if "per" in given and kind != "ratio":
        raise error("per", f"a {kind} has no per here", "Write kind = \"ratio\", or kpi.mean(…, per='user') in Python.")
    made = _checked(kind, of, per, given, error)
    if each == "request":
        return made
    name = given.get("name") or f"{made.name.removesuffix('_mean')}_per_{each}"
    return replace(
        made, name=name, label=str(given.get("label") or name.replace("_", " ").capitalize()), per_unit=UNITS[each],
        needs=(*made.needs, UNITS[each]), formula=made.formula.replace("requests", f"{each}s"),
        definition=made.definition.replace("requests", f"{each}s"),
    )  # fmt: skip


def _condition(text: Any, field: str, error: Any) -> Condition:
    found = own_terms.parsed(text) if isinstance(text, str) else None
    if found is None:
        raise error("of", f"{field!r} is neither a column nor a condition: {str(text)[:60]!r}",
                    "Write a column (revenue), a score (judge:tone), or one and a test (judge:tone >= 4).")  # fmt: skip
    return found


def _checked(kind: OwnKind, of: Condition, per: Condition | None, given: Mapping[str, Any], error: Any) -> Metric:
    def number(field: str, low: float, high: float) -> float:
        value = given[field]
        if isinstance(value, bool) or not isinstance(value, int | float) or not low < value < high:
            raise error("field", f"{field!r} must be a number above {low:g} and below {high:g}",
                        "Write a plain number.")  # fmt: skip
        return float(value)

    if kind == "quantile" and "q" not in given:
        raise error("field", "a quantile needs q", "Write q = 0.95 for the value that 95 % stay at or below.")
    q = number("q", 0, 1) if kind == "quantile" else None
    name = given.get("name") or own_terms.name_of(kind, of, per, q)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise error("name", f"{str(name)[:60]!r} is no name", "Use letters, digits and _, a letter first.")
    if name in METRICS or name in ("drift_score", "fairness_gap"):
        raise error("name", f"{name!r} is a metric already", "Give it another name.")
    direction = given.get("direction", "up" if kind == "rate" else "none")
    if direction not in ("up", "down", "none"):
        raise error("direction", f"{str(direction)[:40]!r} is no direction", 'Write "up", "down" or "none".')
    unit = given.get("unit", "share" if kind == "rate" else "count")
    if not isinstance(unit, str) or (kind in ("rate", "count") and unit != ("share" if kind == "rate" else "count")):
        raise error("unit", f"{str(unit)[:40]!r} is no unit of a {kind}", "Leave the unit out.")
    formula = own_terms.formula(kind, of, per, q)
    numeric = kind not in ("rate", "count")
    made = Metric(
        name=name, label=str(given.get("label") or name.replace("_", " ").capitalize()), unit=unit,
        direction=direction, formula=formula, null_rule="requests where it is unknown are left out",
        definition=str(given.get("definition") or formula[0].upper() + formula[1:]), **OWN_KINDS[kind],
        needs=tuple(dict.fromkeys(c.column for c in (of, per) if c)), group="own", own=tuple(c for c in (of, per) if c),
        min_n=int(number("min_n", -1, 1e9)) if "min_n" in given else 1 if numeric and kind == "sum" else 30,
        smallest=number("smallest", 0, math.inf) if "smallest" in given else None,
        scale=of.scale / per.scale if per else of.scale if kind in ("mean", "quantile", "sum") else 1.0,
    )  # fmt: skip
    if kind == "quantile":
        return replace(made, column=of.column, q=q)
    return replace(made, y=own_terms.term(of, numeric), x=own_terms.term(per, True) if per else own_terms.known(of))


# --- a metric and the data -------------------------------------------------------------------------------------------


def _of_register(source: Source) -> Mapping[str, Metric]:
    if not source.version or source.name not in names():  # what lies in memory has no folder
        return {}
    path = folder(source.name) / "register.toml"
    try:
        return _read(str(path), path.stat().st_mtime_ns)
    except OSError:
        return {}


@lru_cache(maxsize=64)
def _read(path: str, changed: int) -> Mapping[str, Metric]:
    try:
        with open(path, "rb") as file:
            return declared(tomllib.load(file))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RegisterError("register.unreadable", f"The register cannot be read: {str(error)[:200]}",
                            hint="Fix the file.") from error  # fmt: skip


def _check(source: Source, own: Metric) -> Metric:
    """The metric as this data have it. Raises MetricError where they lack a column, or it holds what cannot be used."""
    known = profile(source)
    for part in own.own:
        column = physical(part.name, known.filled | known.scores)
        if column is None:
            have = sorted({own_terms.called(c) for c in known.filled | known.scores})
            near = difflib.get_close_matches(part.name, have, n=3, cutoff=0.5)
            raise MetricError(
                "metric.no_column",
                f"The data set {source.name!r} has no column {part.name[:60]!r}, which {own.name!r} needs",
                hint=f"Did you mean {', '.join(near)}?" if near else "`kpi datasets NAME` lists what it holds.",
            )  # fmt: skip
        held = known.ranges.get(column)
        if held is not None and held.low < 0:
            own = _signed(own, part, held)
        bare = own.kind == "rate" and not part.test
        if (bare and held is not None and not held.flags) or not (part.test or _is_number(known, column)):
            values = known.dimensions.get(dimension_name(column), ())
            code, wanted, made = ("no_flag", "true and false", "share") if bare else ("text", "numbers", "number")
            example = f" ({values[0][0][:40]!r})" if values else ""
            said = f"{part.name!r} holds values other than {wanted}{example}, so it makes no {made}"
            hint = f"Say what counts: '{part.name} >= 1', '{part.name} == pro'."
            raise MetricError(f"metric.{code}", said, hint=hint)
    return own


def _signed(own: Metric, part: Condition, held: MeasureRange) -> Metric:
    """A ratio whose values may be negative: what matters is a step, a twentieth of the usual size of a value."""
    if own.kind == "quantile":
        raise MetricError("metric.negative",
                          f"{part.name!r} holds negative values (lowest {held.low:g}), which have no quantile",
                          hint=f"Ask for its mean, or for the share beyond a limit: '{part.name} < 0'.")  # fmt: skip
    if own.kind != "ratio" or part.test:
        return own
    smallest = own.smallest if own.smallest is not None else float(f"{held.size / 20:.1g}")
    return replace(own, signed=True, smallest=smallest)


def _is_number(known: Profile, column: str) -> bool:
    """Whether a column holds numbers, or words for true and false."""
    if column.startswith((MEASURE_PREFIX, own_terms.SCORE)):
        return True
    if column in REQUESTS.names and REQUESTS[column].type != "string":
        return REQUESTS[column].type in ("bool", "int", "float")
    values = known.dimensions.get(dimension_name(column))
    return bool(values) and {v.lower() for v, _ in values or ()} <= {*TRUE_WORDS, *FALSE_WORDS}

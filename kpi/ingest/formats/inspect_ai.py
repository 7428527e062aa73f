"""Inspect AI evaluation logs: one `.json` document, or the `.eval` archive of a header and one file a sample.

A sample and epoch is one request. `model_usage` and the usage of calls leave cached tokens out. Newer logs write every
message once (`input_refs` into `events_data.messages`) and long texts apart (`attachment://…`). What the header says
of all samples (task, dataset, model) is added to each when the last input was read, in whatever order they came.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from kpi.assembly.outcomes import DEFAULT, fold
from kpi.ingest.formats import Item, Say, Score, added, facts_in, mapping, names_of, nanos, objects, stable_id, whole
from kpi.ingest.formats._inspect_events import USAGE, Events, failure, text

_DATA = names_of(__file__)
_GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}  # correct, partial, incorrect, no answer
_JUDGES = ("model_graded", "llm", "judge")


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """A log with its samples, a header, or one sample."""
    if "eval" in record:
        say.left_out(record, _DATA.sets["log"])
        _remember(record, say)
        yield from say.whole_parts(_sample(sample, say) for sample in objects(record.get("samples")))
    elif "messages" in record:
        yield from _sample(record, say)


def finish(say: Say) -> Iterator[Item]:
    """What the header says of each sample; what the header counts and the load lacks."""
    headers: dict[str, dict[str, Any]] = say.kept.get("headers", {})
    told: dict[str, tuple[str, dict[str, Any]]] = say.kept.get("told", {})
    by_file = {file: eval_id for eval_id, header in headers.items() for file in header["files"]}
    only = next(iter(headers)) if len(headers) == 1 else None
    counted: dict[str, int] = {}
    for trace_id, (file, verdicts) in told.items():
        eval_id = by_file.get(file) or only
        if (header := headers.get(eval_id or "")) is None:
            yield from _graded(verdicts, None)
            continue
        counted[eval_id or ""] = counted.get(eval_id or "", 0) + 1
        yield whole(trace_id, **header["facts"])
        yield from _graded(verdicts, header["headline"])
    if not only and any(file not in by_file for file, _ in told.values()):
        say.note("Some samples came without the header of their log: task, dataset and model are unknown.")
    for eval_id, header in headers.items():
        if missing := (header["samples"] or 0) - counted.get(eval_id, 0):
            task = header["task"] or "a task"
            say.note(f"The log of {task} counts {header['samples']} samples, {missing} are missing.")


def _remember(record: Mapping[str, Any], say: Say) -> None:
    spec, results = mapping(record.get("eval")), mapping(record.get("results"))
    say.left_out(spec, _DATA.sets["eval"], "eval")
    eval_id = str(spec.get("eval_id") or spec.get("run_id") or spec.get("task_id") or say.file)
    first: dict[str, Any] = {"files": set(), "samples": None, "headline": None, "facts": {}, "task": spec.get("task")}
    known = say.kept.setdefault("headers", {}).setdefault(eval_id, first)
    known["files"].add(say.file)
    if results:  # the journal of a run that did not end has none
        known["samples"] = results.get("total_samples") if isinstance(results.get("total_samples"), int) else None
        scorers = objects(results.get("scores"))
        stated = mapping(results.get("headline")).get("score")
        known["headline"] = stated or (scorers[0].get("name") if scorers else None)
    if record.get("status") in ("error", "cancelled", "started"):
        say.note(f"The evaluation did not end well ({record['status']}): some samples may never have run.")
    dataset = mapping(spec.get("dataset"))
    known["facts"] = {
        "requested_model": spec.get("model"), "release": mapping(spec.get("revision")).get("commit"),
        "cohorts": {"task": spec.get("task"), "dataset": dataset.get("name")}}  # fmt: skip


def _sample(sample: dict[str, Any], say: Say) -> Iterator[Item]:
    say.left_out(sample, _DATA.sets["sample"], "sample")
    trace_id = str(sample.get("uuid") or stable_id("inspect", orjson.dumps(sample, option=orjson.OPT_SORT_KEYS)))
    error, output = mapping(sample.get("error")), mapping(sample.get("output"))
    events, limit = Events(trace_id, sample, say), mapping(sample.get("limit")).get("type")
    yield whole(
        trace_id, name=str(sample.get("id")), start=sample.get("started_at"), end=sample.get("completed_at"),
        seconds=sample.get("total_time"), status="error" if error else "ok", error_type=failure(error),
        message=error.get("message"), input=events.resolved(sample.get("input")),
        output=text(events.resolved(output.get("completion"))), model=output.get("model"),
        metadata=mapping(sample.get("metadata")), turns=events.turns(), cache_included=False,
        cohorts={"sample": sample.get("id"), "epoch": sample.get("epoch"), "limit": limit},
        # Sums over the models of the sample; they count only where no call states its usage.
        **added(facts_in(mapping(usage), USAGE) for usage in mapping(sample.get("model_usage")).values()))  # fmt: skip
    yield from events.spans()
    verdicts = {}
    at = nanos(sample.get("completed_at"))
    for scorer, score in mapping(sample.get("scores")).items():
        for name, value in _values(str(scorer), mapping(score).get("value"), say):
            verdicts[name] = _score(trace_id, name, value, mapping(score), at)
            yield verdicts[name]
    # Held until the header came: only it names the scorer that decides where there are several.
    say.kept.setdefault("told", {})[trace_id] = (say.file, verdicts)


def _values(scorer: str, value: Any, say: Say) -> Iterator[tuple[str, Any]]:
    """(name, value) of a score: a scorer may give one value, or a value for each of several names."""
    if isinstance(value, dict):
        yield from ((str(name), inner) for name, inner in value.items())
    elif isinstance(value, list):
        say.note("Scores that are lists have no single value: they were left out.")
    else:
        yield scorer, value


def _score(trace_id: str, name: str, value: Any, score: Mapping[str, Any], at: int | None) -> Score:
    """Grades keep their letter, but for the partial one, which readers of labels would not know."""
    label = None if isinstance(value, int | float) else value
    grade = _GRADES.get(value) if isinstance(value, str) else value
    return Score(
        trace_id, None, name, "judge" if name.lower().startswith(_JUDGES) else "code", value=grade,
        label={"P": "partial", "N": "no_answer"}.get(str(label), label), explanation=score.get("explanation"), at=at,
    )  # fmt: skip


def _graded(verdicts: Mapping[str, Score], headline: Any) -> Iterator[Item]:
    """The verdict that decides, under a name that the outcome rules know: the headline's, else an only one."""
    if any(fold(name) in DEFAULT.by_name for name in verdicts):
        return
    name = headline if headline in verdicts else next(iter(verdicts)) if len(verdicts) == 1 else None
    if name is not None:
        yield verdicts[name]._replace(name="correct", identifier=str(name))

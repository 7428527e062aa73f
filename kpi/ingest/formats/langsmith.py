"""LangSmith: runs (dumps, REST, API v2, ingest payloads, bulk Parquet, frames as CSV) and feedback (0.15).

A trace is the tree of its runs; `dotted_order` alone tells it. `session_id` is the project, never the conversation.
Every run above a model run repeats the sums of tokens and cost below it: they count on model runs only, and those of
the root stand on the row of the whole, for exports of root runs alone. `feedback_stats` are averages: they count where
the load has no feedback records of the same run and key.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kpi.ingest.formats import Item, Say, Score, facts_in, names_of, nanos, only, span, whole
from kpi.ingest.formats._replies import Reply, counts, documents, question, reply
from kpi.ingest.otlp.attributes import count_of, mapping, nusd, objects, parse, truth_of

_DATA = names_of(__file__)
_NOTES = _DATA.table["notes"]

_NAMED = re.compile(
    r"(?:\w+\.)*([A-Za-z_]\w*(?:Error|Exception|Exit|Interrupt|Timeout|Failure)|[A-Z]\w+(?=\())\s*(?:[(:]|$)"
)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_ORDERED = re.compile(r"(\d{8}T\d{6})(\d{0,6})Z")
_ROOT, _BELOW, _SUMS = 1, 2, 4  # of a trace: its root is here; runs below it or model runs; tokens on the root
_HELD = 200_000  # averages that wait for the end of the load; later ones count at once


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """One run with the runs inside it, or one feedback record."""
    if "run_type" in record:
        yield from _run(record, say)
    else:
        yield from _feedback(record, say)


def finish(say: Say) -> Iterator[Item]:
    """Averages of feedback that no record told in full, and what the export lacks."""
    told = say.kept.get("told", set())
    for about, score in say.kept.get("averages", {}).items():
        if about not in told:
            yield score
    traces = say.kept.get("traces", {}).values()
    counted = {name: len(say.kept.get(name, ())) for name in ("pending", "offloaded")}
    counted["rootless"] = sum(not seen & _ROOT for seen in traces)
    counted["roots_alone"] = sum(seen & (_SUMS | _BELOW) == _SUMS for seen in traces)
    for about, number in counted.items():
        if number:
            say.note(_NOTES[about].format(number))


def _run(run: dict[str, Any], say: Say) -> Iterator[Item]:
    tags = run.get("tags") if isinstance(run.get("tags"), list) else []
    say.left_out(run, _DATA.sets["known"], "run")
    if any(":" not in str(tag) for tag in tags or ()):  # only `key:value` can be a cohort
        say.left_out({"tags": tags}, (), "run")
    extra = mapping(run.get("extra"))
    say.left_out(extra, ("metadata", "runtime", "invocation_params"), "run.extra")
    path = [part[-36:].lower() for part in str(run.get("dotted_order") or "").split(".") if len(part) >= 36]
    run_id = _id(run.get("id")) or (path[-1] if path else None)
    parent = _id(run.get("parent_run_id")) or (path[-2] if len(path) > 1 else None)
    trace_id = _id(run.get("trace_id")) or (path[0] if path else None) or (None if parent else run_id)
    kind = _DATA.kinds.get(str(run.get("run_type")).lower(), "other")
    metadata = {**mapping(extra.get("metadata")), **mapping(run.get("metadata"))}
    is_model = kind in ("llm", "embedding")
    outputs = parse(run.get("outputs"))
    body = reply(outputs)
    usage = _usage(run, body.usage or mapping(metadata.get("usage_metadata")))
    counted: dict[str, Any] = {**usage, "cost_usd": _cost(run, body.usage or {}, usage)}
    start = run.get("start_time") or _start(run.get("dotted_order"))
    timed: dict[str, Any] = {"start": start, "end": run.get("end_time")}
    who = facts_in(metadata, _DATA.facts["metadata"])
    yield span(
        trace_id, run_id, parent_id=parent, name=run.get("name"), kind=kind, **timed, **_ended(run),
        **_first_token(run, kind), **_texts(run, outputs, body, say),
        **{**who, "session": run.get("thread_id") or who["session"]},
        documents=documents(outputs) if kind == "retriever" else None,
        tool=_tool(run, outputs, body) if kind == "tool" else None,
        **_models(run, extra, metadata, body, is_model), **(counted if is_model else {}),
        metadata={k: v for k, v in metadata.items() if _is_free(k)}, tags=tags)  # fmt: skip
    first_token = run.get("first_token_time")
    if not parent and not is_model and (first_token or any(counted.values())):
        yield whole(trace_id, name=run.get("name"), **timed, first_token=first_token, **counted)
    _remember(run, run_id, say)
    seen = (0 if parent else _ROOT) | (_BELOW if parent or is_model else _SUMS if usage else 0)
    traces = say.kept.setdefault("traces", {})
    traces[hash(trace_id)] = traces.get(hash(trace_id), 0) | seen
    yield from _averages(run, run_id, trace_id, say)
    for inner in objects(run.get("child_runs")):
        stated = {name: value for name, value in inner.items() if value is not None}
        yield from _run({"trace_id": trace_id, "parent_run_id": run_id, **stated}, say)


def _remember(run: dict[str, Any], run_id: Any, say: Say) -> None:
    """What `finish` needs to say what runs lack."""
    if str(run.get("status")).lower() == "pending":
        say.kept.setdefault("pending", set()).add(run_id)
    links = {side: mapping(run.get(f"{side}_s3_urls")) for side in ("inputs", "outputs")}
    bare = [side for side in links if not run.get(side)]
    if any(links[side] for side in bare) or (len(bare) == 2 and mapping(run.get("s3_urls"))):
        say.kept.setdefault("offloaded", set()).add(run_id)


def _ended(run: Mapping[str, Any]) -> dict[str, Any]:
    """Status and error. The error holds a traceback; its first line says what happened."""
    error = str(run.get("error") or run.get("error_preview") or "").strip()
    status = str(run.get("status") or "").lower()
    if not error and status != "error":
        return {"status": "ok" if status == "success" else None}
    said, _, trace = error.partition("Traceback (most recent call last)")
    line = said.strip() or trace.strip().rpartition("\n")[2].strip()
    named = _NAMED.match(line)
    return {"status": "error", "error_type": named[1] if named else None, "message": line}


def _first_token(run: Mapping[str, Any], kind: str) -> dict[str, Any]:
    if kind != "llm":
        return {}
    times = [at for e in objects(run.get("events")) if e.get("name") == "new_token" and (at := nanos(e.get("time")))]
    return {"first_token": run.get("first_token_time") or min(times, default=None), "streamed": bool(times) or None}


def _texts(run: Mapping[str, Any], outputs: Any, body: Reply, say: Say) -> dict[str, Any]:
    asked = question(run.get("inputs"))
    said = body.output if outputs else run.get("outputs_preview")
    if (not asked and run.get("inputs_preview")) or (not outputs and said):
        say.note(_NOTES["previews"])
    return {"input": asked or run.get("inputs_preview"), "output": said, "finish_reason": body.finish}


def _tool(run: Mapping[str, Any], outputs: Any, body: Reply) -> dict[str, Any]:
    result = only(outputs)
    if body.tool_call_id:  # LangChain wraps what the tool returned into a message
        result = body.output["choices"][0]["message"].get("content")
    return {"name": run.get("name"), "id": body.tool_call_id, "arguments": only(run.get("inputs")), "result": result}


def _models(
    run: Mapping[str, Any], extra: Mapping[str, Any], metadata: Mapping[str, Any], body: Reply, is_model: bool
) -> dict[str, Any]:
    if not is_model:
        return {}
    inputs, sent = mapping(run.get("inputs")), mapping(extra.get("invocation_params"))
    requested = (metadata.get("ls_model_name"), inputs.get("model"), sent.get("model"), sent.get("model_name"))
    return {
        "model": body.model,
        "requested_model": next((m for m in requested if isinstance(m, str) and m), None),
        "provider": metadata.get("ls_provider"),
    }


def _usage(run: Mapping[str, Any], inside: Mapping[str, Any]) -> dict[str, Any]:
    """The platform's counts where it counted (0 and 0 is what it writes where it knows none), else the provider's."""
    stated = {
        "prompt_tokens": run.get("prompt_tokens"), "completion_tokens": run.get("completion_tokens"),
        "prompt_token_details": mapping(run.get("prompt_token_details")),
        "completion_token_details": mapping(run.get("completion_token_details"))}  # fmt: skip
    found = counts(inside)
    if count_of(stated["prompt_tokens"]) or count_of(stated["completion_tokens"]):
        found |= {name: value for name, value in counts(stated).items() if value is not None}
    return found


def _cost(run: Mapping[str, Any], usage: Mapping[str, Any], counted: Mapping[str, Any]) -> Any:
    """US dollars, as decimal text. Zero without tokens is unknown."""
    cost = next((c for c in (run.get("total_cost"), usage.get("total_cost")) if nusd(c) is not None), None)
    if cost is None:
        parts = [nusd(run.get(f"{side}_cost")) for side in ("prompt", "completion")]
        cost = sum(p for p in parts if p is not None) / 1e9 if None not in parts else None
    return cost if nusd(cost) or any(counted.values()) else None


def _is_free(key: str) -> bool:
    """Whether a key of the metadata is the application's own."""
    own = ("ls_", "LANGSMITH_", "LANGCHAIN_", "langgraph_", "lc_hub_", "__")
    return key not in _DATA.sets["metadata"] and not key.startswith(own)


def _start(order: Any) -> str | None:
    """The start that the last part of a dotted order names."""
    found = _ORDERED.match(str(order or "").rpartition(".")[2])
    return f"{found[1]}.{found[2] or '0'}+00:00" if found else None


def _id(value: Any) -> str | None:
    return str(value).strip().lower() or None if value is not None else None


def _feedback(record: dict[str, Any], say: Say) -> Iterator[Item]:
    say.left_out(record, _DATA.sets["feedback"], "feedback")
    key, run_id = str(record.get("key") or ""), _id(record.get("run_id"))
    score, value = record.get("score"), record.get("value")
    if score is None and (isinstance(value, (bool, int, float)) or _NUMBER.fullmatch(str(value))):
        score, value = value, None
    if isinstance(value, (dict, list)):
        say.left_out({"value": value}, (), "feedback")
    say.kept.setdefault("told", set()).add(hash((run_id, key)))
    yield Score(
        _id(record.get("trace_id")), run_id, key, annotator=_annotator(mapping(record.get("feedback_source"))),
        value=truth_of(score) if isinstance(score, str) and score.isalpha() else score,
        label=value if isinstance(value, str) else None, explanation=record.get("comment"),
        at=nanos(record.get("modified_at") or record.get("created_at")), identifier=_id(record.get("id")))  # fmt: skip


def _annotator(source: Mapping[str, Any]) -> str | None:
    """A person known to the platform is human; what the application sends by itself is what its users said."""
    kind = str(source.get("type") or "").lower()
    if kind in ("app", "api") and (kind == "app" or source.get("user_id") or source.get("user_name")):
        return "human"
    return {"model": "judge", "auto_eval": "judge"}.get(kind, kind) or None


def _averages(run: Mapping[str, Any], run_id: Any, trace_id: Any, say: Say) -> Iterator[Item]:
    """Scores of `feedback_stats`: held back until it is known that no feedback record tells them one by one."""
    held = say.kept.setdefault("averages", {})
    for key, stats in mapping(run.get("feedback_stats")).items():
        score = _average(run_id, str(key), trace_id, mapping(stats), say)
        if score is not None and len(held) < _HELD:
            held[hash((run_id, key))] = score
        elif score is not None:
            yield score


def _average(run_id: Any, key: str, trace_id: Any, stats: Mapping[str, Any], say: Say) -> Score | None:
    """The one piece of feedback that the statistics of a key are made of, or the mean of several."""
    labels = list(mapping(stats.get("values")))
    if (count_of(stats.get("n")) or 0) > 1 or len(labels) > 1:
        say.note(_NOTES["averages"])
    label = labels[0] if len(labels) == 1 and stats.get("avg") is None else None
    if stats.get("avg") is None and label is None:
        return None
    sources, comments = (parse(stats.get(name)) for name in ("sources", "comments"))
    source = parse(sources[0]) if isinstance(sources, list) and len(sources) == 1 else None
    return Score(
        trace_id, run_id, key, annotator=_annotator(source) if isinstance(source, dict) else source,
        value=stats.get("avg"), label=label,
        explanation=comments[0] if isinstance(comments, list) and len(comments) == 1 else None)  # fmt: skip

"""ATIF trajectories of Harbor and other agents (schema 1.0 to 1.7): numbered steps of user, agent and system.

A session is one request. Its continuation files share the session and begin with steps copied from the file before
(`is_copied_context`), which count once. Steps carry a moment and no length. `prompt_tokens` include the cached ones.
`final_metrics` repeat the sums of the steps, and count only where no step has any.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from kpi.ingest.formats import Item, Say, added, facts_in, names_of, nanos, span, stable_id, text_blocks, whole
from kpi.ingest.otlp.attributes import count_of, mapping, number, objects

_DATA = names_of(__file__)
_TOTALS = _DATA.facts["totals"]


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """One document: a trajectory, or a part of one that goes on in another file."""
    if not str(record.get("schema_version")).upper().startswith("ATIF"):
        say.drop("not an ATIF trajectory", "Its schema_version does not begin with ATIF.")
        return
    content = orjson.dumps(record.get("steps"), option=orjson.OPT_SORT_KEYS)
    trace_id = str(record.get("session_id") or record.get("trajectory_id") or stable_id("atif", content))
    parts = say.kept.setdefault("sessions", {}).setdefault(trace_id, {})
    parts[stable_id(content)] = _part(record)
    yield from _trajectory(trace_id, None, record, say)


def finish(say: Say) -> Iterator[Item]:
    """What is said of each session as a whole: the sums of its parts, the first question and the last answer."""
    for trace_id, parts in say.kept.get("sessions", {}).items():
        ordered = sorted(parts.values(), key=lambda p: (p["first"] or 0, p["continued"] is None, p["key"]))
        moments = [p[n] for p in ordered for n in ("first", "last") if p[n] is not None]
        answers = [p["output"] for p in ordered if p["output"]]
        yield whole(
            trace_id, **{**ordered[-1]["facts"], "name": ordered[0]["facts"]["name"]}, status="ok",
            start=min(moments, default=None), end=max(moments) if len(set(moments)) > 1 else None,
            input=next((p["input"] for p in ordered if p["input"]), None), output=answers[-1] if answers else None,
            turns=sum(p["turns"] for p in ordered), session=trace_id,
            **added(p["totals"] for p in ordered))  # fmt: skip
        if any(p["continued"] for p in ordered) and len(ordered) == 1:
            say.note("A trajectory goes on in another file that is not among those of this load.")
        if len(set(moments)) > 1:
            say.note("Steps have no length: the total latency of a trajectory is from its first to its last step.")


def _part(record: Mapping[str, Any]) -> dict[str, Any]:
    """What one document adds to what is known of its session."""
    steps = [s for s in objects(record.get("steps")) if not s.get("is_copied_context")]
    agent, final = mapping(record.get("agent")), mapping(record.get("final_metrics"))
    moments = sorted(at for s in steps if (at := nanos(s.get("timestamp"))) is not None)
    users = [s for s in steps if s.get("source") == "user"]
    said = [text for s in steps if s.get("source") == "agent" and (text := text_blocks(s.get("message")))]
    return {
        "key": str(record.get("trajectory_id") or ""), "continued": record.get("continued_trajectory_ref"),
        "first": moments[0] if moments else None, "last": moments[-1] if moments else None, "turns": len(users),
        "input": text_blocks(users[0].get("message")) if users else None, "output": said[-1] if said else None,
        "totals": {n: number(v) if n == "cost_usd" else count_of(v) for n, v in facts_in(final, _TOTALS).items()},
        "facts": {
            "name": agent.get("name"), "release": agent.get("version"), "requested_model": agent.get("model_name"),
            "cohorts": {"agent": agent.get("name")},
        }}  # fmt: skip


def _trajectory(trace_id: str, parent: str | None, record: Mapping[str, Any], say: Say) -> Iterator[Item]:
    agent = mapping(record.get("agent"))
    say.left_out(record, _DATA.sets["document"])
    say.left_out(agent, _DATA.sets["agent"], "agent")
    say.left_out(mapping(record.get("final_metrics")), _DATA.sets["final"], "final_metrics")
    asked = None
    for step in objects(record.get("steps")):
        say.left_out(step, _DATA.sets["step"], "step")
        asked = text_blocks(step.get("message")) if step.get("source") == "user" else asked
        if step.get("is_copied_context"):
            continue
        if step.get("source") == "agent":
            yield from _agent_step(trace_id, parent, step, asked, agent.get("model_name"), say)
    embedded = objects(record.get("subagent_trajectories"))
    for inner in embedded:
        # The agent below another one: its steps hang under it, so that the tree shows who did what.
        inner_id = str(inner.get("trajectory_id") or inner.get("session_id") or stable_id("sub", trace_id, inner))
        name = mapping(inner.get("agent")).get("name")
        yield span(trace_id, inner_id, parent_id=parent, kind="agent", name=name, status="ok")
        yield from _trajectory(trace_id, inner_id, inner, say)
    seen = (mapping(step.get("observation")).get("results") for step in objects(record.get("steps")))
    if not embedded and any(r.get("subagent_trajectory_ref") for results in seen for r in objects(results)):
        say.note("Trajectories of subagents in files of their own each count as a request.")


def _agent_step(
    trace_id: str, parent: str | None, step: Mapping[str, Any], asked: Any, model: Any, say: Say
) -> Iterator[Item]:
    """A model call and the tools it used. A step without a model call (llm_call_count 0) holds tools alone."""
    metrics = mapping(step.get("metrics"))
    say.left_out(metrics, _DATA.sets["metrics"], "metrics")
    # Numbers of steps begin again in a continuation: the content tells them apart, the number keeps their order.
    told = [step.get(n) for n in ("timestamp", "message", "tool_calls")]
    key = f"{count_of(step.get('step_id')) or 0:05}-{stable_id(parent, orjson.dumps(told))[:8]}"
    start = nanos(step.get("timestamp"))
    above = parent
    if step.get("llm_call_count") != 0:
        above = key
        yield span(
            trace_id, key, parent_id=parent, kind="llm", name="agent", start=start, status="ok",
            model=step.get("model_name") or model, input=asked, output=text_blocks(step.get("message")),
            **facts_in(metrics, _DATA.facts["metrics"]))  # fmt: skip
    results = objects(mapping(step.get("observation")).get("results"))
    calls = objects(step.get("tool_calls"))
    by_id = {r.get("source_call_id"): r for r in results if r.get("source_call_id")}
    unnamed = [r for r in results if not r.get("source_call_id")]
    for place, call in enumerate(calls):
        # A lone result without an id is that of a lone call.
        found = by_id.get(call.get("tool_call_id")) or (unnamed[0] if len(calls) == 1 and unnamed else {})
        name = call.get("function_name")
        yield span(
            trace_id, f"{key}-{place:02}", parent_id=above, kind="tool", name=name, start=start,
            status="unknown",
            tool={"name": name, "id": call.get("tool_call_id"), "arguments": call.get("arguments"),
                  "result": text_blocks(found.get("content"))})  # fmt: skip
    if calls:
        say.note("The format does not say whether a tool failed: tool errors are not known from it.")

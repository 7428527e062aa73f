"""tau-bench trajectories and tau2-bench results: an agent, a simulated user, tools, a reward; several trials of a task.

tau-bench writes a list of `{task_id, reward, info, traj, trial}` without times, model or ids: a trajectory is known by
its content. tau2-bench writes `{info, tasks, simulations}`, or the metadata in one file and each simulation in its
own (sierra-research/tau2-bench, `data_model/simulation.py`, `message.py`). The first message of an agent is a set
phrase, and calls that the user makes on a device of its own are none of the agent's.

What the simulated user costs is no cost of the agent: it counts as review. The escalation is the benchmark's own tool.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from kpi.ingest.formats import Item, Say, Score, mapping, names_of, nanos, objects, span, stable_id, whole

_DATA = names_of(__file__)
_ESCALATION = "transfer_to_human_agents"
_NOTES = _DATA.table["notes"]


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """One trajectory, one simulation, or a file of results with its simulations."""
    if "traj" in record:
        yield from _trajectory(record, say)
    elif "tasks" in record:
        say.left_out(record, _DATA.sets["results"])
        _remember(record, say)
        yield from say.whole_parts(_simulation(s, say) for s in objects(record.get("simulations")))
    else:
        yield from _simulation(record, say)


def finish(say: Say) -> Iterator[Item]:
    """The run that simulations belong to: known where the load holds one file of results."""
    runs, told = say.kept.get("runs", {}), say.kept.get("told", {})
    run = next(iter(runs.values())) if len(runs) == 1 else {}
    if told and len(runs) > 1:
        say.note(_NOTES["runs"])
    for trace_id in told:
        if run:
            yield whole(trace_id, **run)
    if missing := say.kept.get("indexed", set()) - told.keys():
        say.note(f"{len(missing)} simulations that the results list are not among the files.")


def _trajectory(record: Mapping[str, Any], say: Say) -> Iterator[Item]:
    """One of tau-bench's. It has no id: the same content is the same trajectory, in whatever file."""
    say.left_out(record, _DATA.sets["old"])
    info, messages = mapping(record.get("info")), objects(record.get("traj"))
    say.left_out(info, _DATA.sets["old_info"], "info")
    say.note(_NOTES["no_model"])
    run = say.file.rsplit(": ", 1)[-1].removesuffix(".json")
    trace_id = stable_id(
        "tau", orjson.dumps([record.get(n) for n in ("task_id", "trial", "traj")], option=orjson.OPT_SORT_KEYS)
    )
    yield whole(
        trace_id, name="tau-bench", status="error" if info.get("error") else "ok", message=info.get("error"),
        user=mapping(info.get("task")).get("user_id"), **_said(messages),
        cohorts={"task": record.get("task_id"), "trial": record.get("trial"), "run": run},
        metadata={"escalated": _escalated(messages)})  # fmt: skip
    yield from _steps(trace_id, messages, say)
    yield from _user_cost(trace_id, info.get("user_cost"), say)
    yield Score(trace_id, None, "reward", "code", value=record.get("reward"))
    say.note(_NOTES["no_cost"])


def _simulation(record: Mapping[str, Any], say: Say) -> Iterator[Item]:
    say.left_out(record, _DATA.sets["simulation"], "simulation")
    messages = objects(record.get("messages"))
    trace_id = str(record.get("id") or stable_id("tau2", orjson.dumps(record, option=orjson.OPT_SORT_KEYS)))
    say.kept.setdefault("told", {})[trace_id] = True
    reason = record.get("termination_reason")
    stopped = reason if reason in _DATA.sets["stopped"] else None
    if not messages:
        # A span for the simulated user alone would say that the agent made no calls.
        say.note(_NOTES["silent"])
    yield whole(
        trace_id, name="tau2-bench", start=record.get("start_time"), end=record.get("end_time"),
        seconds=record.get("duration"), status="error" if stopped else "ok", error_type=stopped,
        cost_usd=record.get("agent_cost"), **_said(messages),
        cohorts={"task": record.get("task_id"), "trial": record.get("trial"), "termination": reason},
        metadata={"escalated": _escalated(messages)} if messages else None)  # fmt: skip
    yield from _steps(trace_id, messages, say)
    yield from _user_cost(trace_id, record.get("user_cost") if messages else None, say)
    if (reward := mapping(record.get("reward_info")).get("reward")) is not None:
        yield Score(trace_id, None, "reward", "code", value=reward, at=nanos(record.get("end_time")))


def _remember(record: Mapping[str, Any], say: Say) -> None:
    info = mapping(record.get("info"))
    agent, domain = mapping(info.get("agent_info")), mapping(info.get("environment_info")).get("domain_name")
    say.kept.setdefault("indexed", set()).update(
        str(entry.get("id")) for entry in objects(record.get("simulation_index")) if entry.get("id")
    )
    model, provider = _model(agent.get("llm"))
    run = {
        "model": model, "provider": provider, "release": info.get("git_commit"),
        "cohorts": {"domain": domain, "agent": agent.get("implementation")}}  # fmt: skip
    say.kept.setdefault("runs", {})[orjson.dumps(run)] = run


def _steps(trace_id: str, messages: list[dict[str, Any]], say: Say) -> Iterator[Item]:
    """Model calls of the agent, and the calls that came of them. Ids of calls repeat where a model repeats itself, so a
    span is known by its place."""
    results = _results(messages)
    asked: Any = None
    for index, message in enumerate(messages):
        role = message.get("role")
        say.left_out(message, _DATA.sets["message"], "message")
        if role == "user":
            asked = message.get("content") or asked
        if role != "assistant" or (asked is None and not message.get("usage")):
            continue
        usage, calls = mapping(message.get("usage")), objects(message.get("tool_calls"))
        ended, length = nanos(message.get("timestamp")), message.get("generation_time_seconds")
        begun = ended - round(length * 1e9) if ended is not None and isinstance(length, int | float) else ended
        yield span(
            trace_id, f"{index:05}", kind="llm", name="agent", start=begun, end=ended if begun != ended else None,
            status="ok", input=asked, output=message.get("content"), cost_usd=message.get("cost"),
            input_tokens=usage.get("prompt_tokens"), output_tokens=usage.get("completion_tokens"))  # fmt: skip
        for place, call in enumerate(calls):
            yield from _call(trace_id, f"{index:05}", place, call, ended, results.get((index, place)))


def _call(
    trace_id: str, parent: str, place: int, call: Mapping[str, Any], start: int | None, result: Any
) -> Iterator[Item]:
    function = mapping(call.get("function")) or call
    name, answer = function.get("name"), mapping(result)
    text = answer.get("content")
    failed = answer.get("error") is True or (isinstance(text, str) and text.startswith("Error"))
    ended = nanos(answer.get("timestamp"))
    yield span(
        trace_id, f"{parent}-{place:02}", parent_id=parent, kind="tool", name=name, start=start,
        end=ended if ended != start else None, status="error" if failed else "ok" if result is not None else "unknown",
        message=text if failed else None,
        tool={"name": name, "id": call.get("id"), "arguments": function.get("arguments"), "result": text})  # fmt: skip


def _results(messages: list[dict[str, Any]]) -> dict[tuple[int, int], dict[str, Any]]:
    """(message, place of the call in it) -> the tool's answer: those that follow, by id and else by place."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    waiting: list[tuple[tuple[int, int], Any]] = []
    for index, message in enumerate(messages):
        if message.get("role") in ("assistant", "user"):
            waiting = [((index, p), c.get("id")) for p, c in enumerate(objects(message.get("tool_calls")))]
        elif message.get("role") == "tool" and waiting:
            stated = message.get("tool_call_id") or message.get("id")
            chosen = next((w for w in waiting if w[1] and w[1] == stated), waiting[0])
            waiting.remove(chosen)
            found[chosen[0]] = message
    return found


def _said(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """What the user came with, the last the agent said, and how often the user spoke."""
    asked = [m["content"] for m in messages if m.get("role") == "user" and m.get("content")]
    told = [m["content"] for m in messages if m.get("role") == "assistant" and m.get("content")]
    turns = sum(m.get("role") == "user" and not m.get("tool_calls") for m in messages)
    return {
        "input": asked[0] if asked else None, "output": told[-1] if told else None,
        "turns": turns if messages else None}  # fmt: skip


def _escalated(messages: list[dict[str, Any]]) -> bool:
    calls = (c for m in messages if m.get("role") == "assistant" for c in objects(m.get("tool_calls")))
    return any((mapping(c.get("function")) or c).get("name") == _ESCALATION for c in calls)


def _user_cost(trace_id: str, cost: Any, say: Say) -> Iterator[Item]:
    if cost is not None:
        say.note(_NOTES["user_cost"])
        yield span(trace_id, "user", kind="evaluator", name="simulated user", status="ok", cost_usd=cost)


def _model(stated: Any) -> tuple[Any, Any]:
    """`openai/gpt-4.1`, as LiteLLM names models, -> (model, provider)."""
    provider, slash, model = str(stated or "").rpartition("/")
    return (model or None), (provider.split("/")[0] if slash else None)

"""What coding agents call things in their log events. Tables only, no code: an agent is an entry here.

Sources: Claude Code, its page on monitoring (2.1, 2026); Codex CLI, `codex-rs/otel` (0.137); Gemini CLI,
`packages/core/src/telemetry` (0.20); Copilot Chat, `genAiEvents` of its OTel platform (0.59) and the page on monitoring
agents. Of these, Claude Code and Gemini CLI were seen in exports; Codex and Copilot rest on source and documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# What an event says. STREAM: a piece of an answer, of which the last states the usage. OPENED: an answer began.
PROMPT, CALL, FAILED, STREAM, OPENED, TOOL, ANSWER, REFUSAL, FIRST_TOKEN, DECISION, FEEDBACK = (
    "prompt", "call", "failed call", "stream", "opened", "tool", "answer", "refusal", "first token", "decision",
    "feedback",
)  # fmt: skip
MODEL_CALL = ".model_call"  # how the names of spans end that are made of an agent's own words
AGENT_COLUMN = "x_agent"  # where requests of agents say whose they are
DETAILS = "gen_ai.client.inference.operation.details"


@dataclass(frozen=True, kw_only=True)
class Agent:
    """One agent. prefix: of its events' names. services: `service.name` of its resource, in lower case.

    events: the last part of an event's name -> what it says; others of its prefix say nothing of a request.
    cache_beside, reasoning_beside: whether its input leaves cached tokens out, and its output those of reasoning, where
    no total in the event tells. total: whether it states one. details: whether `DETAILS` is its model call (None: a
    twin of another event). silent: numbers that repeat others.
    """

    name: str
    title: str
    prefix: str
    services: frozenset[str] = frozenset()
    events: Mapping[str, str]
    provider: str | None = None
    cache_beside: bool = False
    reasoning_beside: bool = False
    details: bool | None = None
    silent: frozenset[str] = frozenset()


AGENTS = (
    Agent(
        name="claude-code", title="Claude Code", prefix="claude_code.", services=frozenset({"claude-code"}),
        provider="anthropic", cache_beside=True,
        events={"user_prompt": PROMPT, "api_request": CALL, "api_error": FAILED, "tool_result": TOOL,
                "tool_decision": DECISION, "assistant_response": ANSWER, "api_refusal": REFUSAL},
    ),
    Agent(
        name="codex", title="Codex", prefix="codex.",
        services=frozenset({"codex", "codex_cli_rs", "codex-cli", "codex_exec", "codex-tui", "codex_vscode",
                            "codex_app_server", "codex-app-server"}),
        provider="openai", silent=frozenset({"tool_token_count"}),  # the sum of input and output
        events={"user_prompt": PROMPT, "api_request": OPENED, "sse_event": STREAM, "tool_result": TOOL,
                "tool_decision": DECISION, "turn_ttft": FIRST_TOKEN},
    ),
    Agent(
        name="gemini-cli", title="Gemini CLI", prefix="gemini_cli.", services=frozenset({"gemini-cli"}),
        reasoning_beside=True,
        events={"user_prompt": PROMPT, "api_response": CALL, "api_error": FAILED, "tool_call": TOOL},
    ),
    Agent(
        name="copilot", title="GitHub Copilot", prefix="copilot_chat.",
        services=frozenset({"copilot-chat", "github-copilot", "copilot-cli", "copilot"}), details=True,
        events={"tool.call": TOOL, "edit.feedback": DECISION, "edit.hunk.action": DECISION, "inline.done": DECISION,
                "user.feedback": FEEDBACK},
    ),
)  # fmt: skip
# Any application that writes the conventions' event of a model call without the context of a span.
CONVENTIONS = Agent(name="genai", title="GenAI conventions", prefix="gen_ai.", events={}, details=True)

# The facts of an event, and the attributes that state them, in order of preference.
FIELDS: dict[str, tuple[str, ...]] = {
    "session": ("session.id", "conversation.id", "gen_ai.conversation.id", "session_id", "conversation_id"),
    "prompt": ("prompt.id", "prompt_id"),
    "user": ("user.id", "user.account_uuid", "user.account_id", "user.email", "user_email"),
    "release": ("app.version", "service.version"),
    "model": ("gen_ai.response.model", "model", "model_name"),
    "requested_model": ("gen_ai.request.model",),
    "input_tokens": ("input_tokens", "input_token_count", "gen_ai.usage.input_tokens"),
    "output_tokens": ("output_tokens", "output_token_count", "gen_ai.usage.output_tokens"),
    "cached_read_tokens": ("cache_read_tokens", "cached_token_count", "cached_content_token_count",
                           "gen_ai.usage.cache_read.input_tokens"),
    "cache_write_tokens": ("cache_creation_tokens", "cache_write_token_count",
                           "gen_ai.usage.cache_creation.input_tokens"),
    "reasoning_tokens": ("reasoning_token_count", "thoughts_token_count", "gen_ai.usage.reasoning.output_tokens"),
    "tool_tokens": ("tool_token_count",),
    "total_tokens": ("total_token_count",),
    "cost_usd": ("cost_usd",),
    "cost_micros": ("cost_usd_micros",),
    "milliseconds": ("duration_ms",),
    "first_token": ("ttft_ms",),
    "attempts": ("attempt",),
    "id": ("request_id", "client_request_id", "gen_ai.response.id", "tool_use_id", "call_id", "gen_ai.tool.call.id"),
    "name": ("tool_name", "function_name", "gen_ai.tool.name"),
    "success": ("success",),
    "error": ("error.message", "error"),
    "error_type": ("error_type", "error.type", "status_code", "http.response.status_code", "http.status_code"),
    "kind": ("event.kind",),
    "endpoint": ("endpoint",),
    "arguments": ("tool_input", "tool_parameters", "arguments", "function_args"),
    "result": ("output",),
    "input": ("prompt",),
    "output": ("response", "response_text"),
    "decision": ("decision", "decision_type", "outcome", "accepted"),
    "decided_by": ("source", "decision_source"),
    "rating": ("rating",),
    "hop": ("server_fallback_hop",),
    "sequence": ("event.sequence",),
}  # fmt: skip
READ = frozenset(name for names in FIELDS.values() for name in names)
REDACTED = frozenset({"<REDACTED>", "[REDACTED]", "[redacted]", "<redacted>"})
# How an answer that streams ends; others of its pieces fail without the call failing.
ENDS = frozenset({"response.completed", "response.failed", "response.incomplete", "unknown", ""})

EDIT_TOOLS = frozenset({"Edit", "MultiEdit", "Write", "NotebookEdit", "apply_patch", "replace", "write_file", "edit"})
ACCEPTED = frozenset({"accept", "accepted", "approved", "approved_for_session", "true", "helpful", "up"})
REJECTED = frozenset({"reject", "rejected", "denied", "abort", "false", "unhelpful", "down"})
# A decision without one of these sources, or with one of these words, was none of a person.
BY_PEOPLE = ("user",)
AUTOMATIC = frozenset({"auto_accept"})

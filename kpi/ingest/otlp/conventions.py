"""The names by which span exporters call the same thing, in order of preference. Tables only, no code.

GenAI conventions of every generation, OpenInference, OpenLLMetry (Traceloop), the Vercel AI SDK, the Langfuse SDK.
"""

from __future__ import annotations

from kpi.schema import COHORTS, VERSIONS, WHOLE

OPERATION_KINDS = {
    "chat": "llm", "generate_content": "llm", "text_completion": "llm", "fetch_response": "llm", "completion": "llm",
    "embeddings": "embedding", "retrieval": "retriever", "search_memory": "retriever", "execute_tool": "tool",
    "invoke_agent": "agent", "create_agent": "agent", "invoke_workflow": "chain", "plan": "chain",
    "apply_guardrail": "guardrail", "run_guardrail": "guardrail",
}  # fmt: skip
OPENINFERENCE_KINDS = {
    "llm": "llm", "decision": "llm", "embedding": "embedding", "retriever": "retriever", "reranker": "reranker",
    "tool": "tool", "agent": "agent", "chain": "chain", "prompt": "chain", "guardrail": "guardrail",
    "evaluator": "evaluator", "trace": WHOLE,
}  # fmt: skip
LANGFUSE_KINDS = {**OPENINFERENCE_KINDS, "generation": "llm", "span": "chain", "event": "other"}
TRACELOOP_KINDS = {"workflow": "chain", "task": "chain", "agent": "agent", "tool": "tool"}
REQUEST_KINDS = {"chat": "llm", "completion": "llm", "embedding": "embedding", "rerank": "reranker"}
VERCEL_KINDS = {"ai.toolCall": "tool", "ai.embed.doEmbed": "embedding", "ai.embedMany.doEmbed": "embedding"}

PROVIDERS = {
    "az.ai.openai": "azure.ai.openai", "az.ai.inference": "azure.ai.inference", "gemini": "gcp.gemini",
    "vertex_ai": "gcp.vertex_ai", "vertexai": "gcp.vertex_ai", "xai": "x_ai", "bedrock": "aws.bedrock",
    "mistralai": "mistral_ai", "azure": "azure.ai.openai",
}  # fmt: skip

SESSION = (
    "gen_ai.conversation.id", "session.id", "langfuse.session.id", "ai.telemetry.metadata.sessionId",
    "traceloop.association.properties.session_id",
)  # fmt: skip
USER = (
    "user.id", "enduser.id", "langfuse.user.id", "ai.telemetry.metadata.userId",
    "traceloop.association.properties.user_id",
)  # fmt: skip
MODEL_ANSWERED = ("gen_ai.response.model", "llm.response.model_name", "ai.response.model")
MODEL_REQUESTED = ("gen_ai.request.model", "llm.request.model_name", "langfuse.observation.model.name", "ai.model.id")
MODEL_NAMED = ("llm.model_name", "embedding.model_name", "reranker.model_name")
PROVIDER = ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system", "ai.model.provider")
PROMPT_VERSION = (
    "gen_ai.prompt.version", "langfuse.observation.prompt.version", "llm.prompt_template.version",
    "traceloop.prompt.version", "prompt.id",
)  # fmt: skip
RELEASE = ("langfuse.release", "service.version", "langfuse.version")
ENVIRONMENT = ("langfuse.environment", "deployment.environment.name", "deployment.environment")

TOKENS: dict[str, tuple[str, ...]] = {
    "input_tokens": (
        "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt",
        "ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens",
    ),
    "output_tokens": (
        "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion",
        "ai.usage.outputTokens", "ai.usage.completionTokens",
    ),
    "cached_read_tokens": (
        "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens",
        "llm.token_count.prompt_details.cache_read", "llm.token_count.prompt_details.cache_input",
        "ai.usage.cachedInputTokens",
    ),
    "cache_write_tokens": (
        "gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens", "llm.token_count.prompt_details.cache_write",
    ),
    "reasoning_tokens": (
        "gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens",
        "llm.token_count.completion_details.reasoning", "ai.usage.reasoningTokens",
    ),
}  # fmt: skip
LANGFUSE_CACHE_READ = (
    "input_cached_tokens", "input_cache_read", "cache_read_input_tokens", "prompt_details.cache_read",
)  # fmt: skip
LANGFUSE_CACHE_WRITE = ("input_cache_creation", "cache_creation_input_tokens", "input_cache_write")
LANGFUSE_REASONING = ("output_reasoning_tokens", "output_reasoning", "completion_details.reasoning")
COST = ("llm.cost.total", "gen_ai.usage.cost", "gen_ai.usage.total_cost", "gen_ai.cost.total", "operation.cost")
COST_PARTS = ("llm.cost.prompt", "llm.cost.completion")
STREAMED = ("gen_ai.request.stream", "llm.is_streaming")
# Time to first token, with the nanoseconds of its unit.
FIRST_TOKEN = (
    ("gen_ai.response.time_to_first_chunk", 1_000_000_000),
    ("gen_ai.server.time_to_first_token", 1_000_000_000),
    ("gen_ai.latency.time_to_first_token", 1_000_000_000),
    ("ai.response.msToFirstChunk", 1_000_000),
)
ANNOTATIONS = (
    ("annotations", "annotation"), ("evaluations", "evaluation"),
    ("trace.annotations", "annotation"), ("trace.evaluations", "evaluation"),
)  # fmt: skip

INPUT_VALUES = (
    "ai.prompt.messages", "ai.prompt", "langfuse.observation.input", "input.value", "gen_ai.prompt",
    "traceloop.entity.input", "gen_ai.retrieval.query.text", "gen_ai.tool.call.arguments", "ai.toolCall.args",
    "reranker.query",
)  # fmt: skip
OUTPUT_VALUES = (
    "ai.response.text", "ai.response.object", "langfuse.observation.output", "output.value", "gen_ai.completion",
    "traceloop.entity.output", "gen_ai.tool.call.result", "ai.toolCall.result",
)  # fmt: skip
FINISH = (
    "gen_ai.response.finish_reasons", "llm.finish_reason", "ai.response.finishReason",
    "gen_ai.completion.0.finish_reason",
)  # fmt: skip
STRUCTURED = {"input": "gen_ai.input.messages", "output": "gen_ai.output.messages"}

# The last part of an attribute's name -> the canonical cohort or version it states.
ALIASES: dict[str, str] = {
    "locale": "language", "lang": "language", "user_language": "language", "country": "region", "geo": "region",
    "market": "region", "tier": "plan", "subscription": "plan", "plan_tier": "plan", "platform": "device",
    "device_type": "device", "client": "device", "source_channel": "channel", "usecase": "use_case",
    "feature": "use_case", "tenant_id": "tenant", "org": "tenant", "organization": "tenant", "customer": "tenant",
    "experiment": "experiment_arm", "variant": "experiment_arm", "arm": "experiment_arm", "ab_arm": "experiment_arm",
    "ring": "deployment_ring", "env": "environment", "app_version": "release",
    "index_version": "retrieval_version", "corpus_version": "retrieval_version", "guardrail_version": "policy_version",
    "ab_test": "experiment_arm",
}  # fmt: skip
CANONICAL = frozenset(c.name for c in (*VERSIONS, *COHORTS)) - {"model", "provider"}
# Outcomes that an application states itself, under any of its own prefixes.
STATED = frozenset({"escalated", "resolved", "fallback", "overridden", "deflected", "converted", "refused"})
STATED_ALIASES = {"is_fallback": "fallback", "handoff": "escalated", "human_handoff": "escalated"}

METADATA_PREFIXES = (
    "langfuse.trace.metadata.", "langfuse.observation.metadata.", "ai.telemetry.metadata.",
    "traceloop.association.properties.", "metadata.",
)  # fmt: skip
# Namespaces whose attributes this index knows and reads, or knows to be technical: never cohort candidates.
VOCABULARY = (
    "gen_ai.", "llm.", "input.", "output.", "openinference.", "retrieval.", "reranker.", "embedding.", "tool.", "ai.",
    "langfuse.", "traceloop.", "telemetry.", "openai.", "server.", "service.", "prompt.", "exception.", "error.",
    "session.", "user.", "enduser.", "tag.", "host.", "process.", "os.", "deployment.", "operation.", "graph.",
    "annotations.", "evaluations.", "trace.", "decision.", "agent.", "message.", "otel.", "net.", "http.", "url.",
    "network.", "code.", "thread.", "k8s.", "container.", "cloud.", "logfire.", "event.",
)  # fmt: skip

"""The names by which span exporters call the same thing, in order of preference. Tables only, no code.

GenAI conventions of every generation, OpenInference, OpenLLMetry (Traceloop), the Vercel AI SDK 3 to 7, Langfuse,
Strands, Google ADK, pydantic-ai and Logfire, Semantic Kernel, LiteLLM, OpenRouter, Sentry, OpenLIT, Claude Code,
Copilot, MLflow, Haystack. Which counts lie inside or beside each other is in `counting`.
"""

from __future__ import annotations

from kpi.schema import COHORTS, VERSIONS, WHOLE

OPERATION_KINDS = {
    "chat": "llm", "generate_content": "llm", "text_completion": "llm", "fetch_response": "llm", "completion": "llm",
    "chat.completions": "llm", "text.completions": "llm", "generate_text": "llm", "stream_text": "llm",
    "generate_object": "llm", "stream_object": "llm", "responses": "llm", "messages": "llm",
    "embeddings": "embedding", "embedding": "embedding", "rerank": "reranker",
    "retrieval": "retriever", "search_memory": "retriever", "execute_tool": "tool",
    "invoke_agent": "agent", "create_agent": "agent", "agent_step": "chain", "invoke_workflow": "chain",
    "plan": "chain",
    "apply_guardrail": "guardrail", "run_guardrail": "guardrail",
}  # fmt: skip
OPENINFERENCE_KINDS = {
    "llm": "llm", "decision": "llm", "embedding": "embedding", "retriever": "retriever", "reranker": "reranker",
    "tool": "tool", "agent": "agent", "chain": "chain", "prompt": "chain", "guardrail": "guardrail",
    "evaluator": "evaluator", "trace": WHOLE,
}  # fmt: skip
LANGFUSE_KINDS = {**OPENINFERENCE_KINDS, "generation": "llm", "span": "chain", "event": "other"}
TRACELOOP_KINDS = {"workflow": "chain", "task": "chain", "agent": "agent", "tool": "tool"}
# Kinds stated by names of which one alone settles nothing: a word that is not here is passed over.
_STATED_KINDS = {
    **{word: kind for word, kind in OPENINFERENCE_KINDS.items() if word != "trace"}, **TRACELOOP_KINDS,
    "generation": "llm", "chat_model": "llm", "completion": "llm", "step": "chain", "entry": "chain", "parser": "chain",
    "retrieval": "retriever", "rerank": "reranker", "embeddings": "embedding",
}  # fmt: skip
# Of a tool of Claude Code its permission and its run are spans as well: the tool is the one above them.
_CLAUDE_CODE_KINDS = {
    "interaction": "agent", "llm_request": "llm", "tool": "tool", "tool.execution": "other",
    "tool.blocked_on_user": "other", "hook": "other",
}  # fmt: skip
OTHER_KINDS = (
    ("gen_ai.span.kind", _STATED_KINDS), ("aws.genai.span_kind", _STATED_KINDS), ("mlflow.spanType", _STATED_KINDS),
    ("langsmith.span.kind", _STATED_KINDS), ("lmnr.span.type", _STATED_KINDS),
    ("span.type", {**_STATED_KINDS, **_CLAUDE_CODE_KINDS}),
)  # fmt: skip
REQUEST_KINDS = {
    "chat": "llm", "completion": "llm", "acompletion": "llm", "text_completion": "llm", "atext_completion": "llm",
    "responses": "llm", "aresponses": "llm", "anthropic_messages": "llm", "embedding": "embedding",
    "aembedding": "embedding", "rerank": "reranker", "arerank": "reranker",
}  # fmt: skip
VERCEL_KINDS = {
    "ai.toolCall": "tool", "ai.embed.doEmbed": "embedding", "ai.embedMany.doEmbed": "embedding",
    "ai.rerank.doRerank": "reranker",
}  # fmt: skip
# Components of Haystack, by how the name of their class ends.
HAYSTACK_KINDS = (
    ("Generator", "llm"), ("Embedder", "embedding"), ("Retriever", "retriever"), ("Ranker", "reranker"),
    ("ToolInvoker", "tool"), ("Agent", "agent"),
)  # fmt: skip
# A span that has one of these and names no kind: what it is of.
TELLING = (
    ("gen_ai.request.model", "llm"), ("llm.model_name", "llm"), ("gen_ai.tool.name", "tool"),
    ("haystack.pipeline.input_data", "chain"), ("agent_name", "agent"), ("langfuse.observation.input", "chain"),
)  # fmt: skip
# Instrumentations, by how the name of their scope begins, that tell a failure by `success` alone.
SUCCESS_STATED = ("com.anthropic.claude_code",)
# A copy of a span that is sent when it begins, under an id of its own: no span. (name, value), None for any.
PENDING = (("logfire.span_type", "pending_span"), ("logfire.pending_parent_id", None))

PROVIDERS = {
    "az.ai.openai": "azure.ai.openai", "az.ai.inference": "azure.ai.inference", "gemini": "gcp.gemini",
    "vertex_ai": "gcp.vertex_ai", "vertexai": "gcp.vertex_ai", "xai": "x_ai", "bedrock": "aws.bedrock",
    "mistralai": "mistral_ai", "azure": "azure.ai.openai", "google.generative-ai": "gcp.gemini",
    "google-gla": "gcp.gemini", "google.vertex": "gcp.vertex_ai", "google-vertex": "gcp.vertex_ai",
    "amazon-bedrock": "aws.bedrock", "amazon_bedrock": "aws.bedrock", "aws_bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock", "vertex.anthropic": "gcp.vertex_ai",
}  # fmt: skip

SESSION = (
    "gen_ai.conversation.id", "session.id", "langfuse.session.id", "ai.telemetry.metadata.sessionId",
    "traceloop.association.properties.session_id", "gcp.vertex.agent.session_id", "copilot_chat.chat_session_id",
    "copilot_chat.session_id", "langsmith.trace.session_id", "lmnr.association.properties.session_id",
    "mlflow.trace.session", "gen_ai.session.id",
)  # fmt: skip
USER = (
    "user.id", "enduser.id", "langfuse.user.id", "ai.telemetry.metadata.userId",
    "traceloop.association.properties.user_id", "lmnr.association.properties.user_id", "mlflow.trace.user",
    "gen_ai.user.id", "llm.user",
)  # fmt: skip
MODEL_ANSWERED = ("gen_ai.response.model", "llm.response.model_name", "ai.response.model")
MODEL_REQUESTED = (
    "gen_ai.request.model", "llm.request.model_name", "langfuse.observation.model.name", "ai.model.id",
    "llm.request.model", "mlflow.llm.model",
)  # fmt: skip
MODEL_NAMED = ("llm.model_name", "embedding.model_name", "reranker.model_name")
MODEL_BARE = ("model", "model_name", "model_id")  # of a model call only
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
        "ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens", "llm.usage.prompt_tokens",
        "gen_ai.response.prompt_tokens", "gen_ai.aggregated_usage.input_tokens",
    ),
    "output_tokens": (
        "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion",
        "ai.usage.outputTokens", "ai.usage.completionTokens", "llm.usage.completion_tokens",
        "gen_ai.response.completion_tokens", "gen_ai.aggregated_usage.output_tokens",
    ),
    "cached_read_tokens": (
        "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens",
        "llm.token_count.prompt_details.cache_read", "llm.token_count.prompt_details.cache_input",
        "ai.usage.cachedInputTokens", "ai.usage.inputTokenDetails.cacheReadTokens",
        "llm.usage.cache_read_input_tokens", "gen_ai.usage.input_tokens.cached", "gen_ai.usage.cached_tokens",
        "gen_ai.usage.cached_input_tokens", "gen_ai.usage.input_cached_tokens", "gen_ai.usage.cache_read_tokens",
        "gen_ai.usage.details.cache_read_tokens", "gen_ai.usage.details.cache_read_input_tokens",
        "gen_ai.usage.details.cached_tokens", "gen_ai.usage.details.cached_content_tokens",
        "gen_ai.usage.prompt_tokens_details.cached_tokens", "gen_ai.usage.input_tokens_details.cached_tokens",
        "gen_ai.aggregated_usage.cache_read.input_tokens", "gen_ai.aggregated_usage.details.cache_read_tokens",
        "anthropic.cache_read_input_tokens", "openai.cached_input_tokens",
    ),
    "cache_write_tokens": (
        "gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens", "gen_ai.usage.cache_write_input_tokens",
        "llm.token_count.prompt_details.cache_write", "ai.usage.inputTokenDetails.cacheWriteTokens",
        "llm.usage.cache_creation_input_tokens", "gen_ai.usage.input_tokens.cache_write",
        "gen_ai.usage.cache_creation_tokens", "gen_ai.usage.cache_write_tokens",
        "gen_ai.usage.details.cache_write_tokens", "gen_ai.usage.details.cache_creation_input_tokens",
        "gen_ai.aggregated_usage.cache_creation.input_tokens", "gen_ai.aggregated_usage.cache_write.input_tokens",
        "gen_ai.aggregated_usage.details.cache_write_tokens", "anthropic.cache_creation_input_tokens",
    ),
    "reasoning_tokens": (
        "gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens",
        "llm.token_count.completion_details.reasoning", "ai.usage.reasoningTokens",
        "ai.usage.outputTokenDetails.reasoningTokens", "llm.usage.reasoning_tokens",
        "gen_ai.usage.output_tokens.reasoning", "gen_ai.usage.experimental.reasoning_tokens",
        "gen_ai.usage.reasoning_output_tokens", "gen_ai.usage.details.reasoning_tokens",
        "gen_ai.usage.details.thinking_tokens", "gen_ai.usage.details.thoughts_tokens",
        "gen_ai.usage.completion_tokens_details.reasoning_tokens",
        "gen_ai.usage.output_tokens_details.reasoning_tokens",
        "gen_ai.aggregated_usage.details.reasoning_tokens", "gen_ai.aggregated_usage.reasoning.output_tokens",
        "openai.reasoning_tokens",
    ),
}  # fmt: skip
# Counts without a namespace, as Claude Code and providers' own usage objects write them: only of a model call.
BARE_TOKENS: dict[str, tuple[str, ...]] = {
    "input_tokens": (
        "input_tokens", "prompt_tokens", "inputTokens", "promptTokens", "usage.input_tokens", "usage.prompt_tokens",
        "prompt_token_count", "promptTokenCount", "inputTokenCount",
    ),
    "output_tokens": (
        "output_tokens", "completion_tokens", "outputTokens", "completionTokens", "usage.output_tokens",
        "usage.completion_tokens", "candidates_token_count", "candidatesTokenCount", "outputTokenCount",
    ),
    "cached_read_tokens": (
        "cache_read_tokens", "cache_read_input_tokens", "cacheReadInputTokens", "cached_tokens", "cached_input_tokens",
        "cachedInputTokens", "prompt_tokens_details.cached_tokens", "input_tokens_details.cached_tokens",
        "input_token_details.cache_read", "usage.cache_read_input_tokens", "cached_content_token_count",
        "cachedContentTokenCount",
    ),
    "cache_write_tokens": (
        "cache_creation_tokens", "cache_creation_input_tokens", "cache_write_tokens", "cache_write_input_tokens",
        "cacheWriteInputTokens", "input_token_details.cache_creation", "usage.cache_creation_input_tokens",
    ),
    "reasoning_tokens": (
        "reasoning_tokens", "reasoning_output_tokens", "thinking_tokens", "thoughts_token_count", "thoughtsTokenCount",
        "reasoningTokens", "completion_tokens_details.reasoning_tokens", "output_tokens_details.reasoning_tokens",
        "output_token_details.reasoning",
    ),
}  # fmt: skip
# What a span says of input and output together, and of each without its parts: evidence, no count of its own.
TOTAL = (
    "gen_ai.usage.total_tokens", "llm.token_count.total", "llm.usage.total_tokens", "ai.usage.totalTokens",
    "gen_ai.response.total_tokens", "gen_ai.aggregated_usage.total_tokens", "aws.genai.token_count_total",
    "gen_ai.client.token.usage",
)  # fmt: skip
BARE_TOTAL = ("total_tokens", "totalTokens", "usage.total_tokens", "total_token_count", "totalTokenCount")
UNCACHED = ("ai.usage.inputTokenDetails.noCacheTokens",)
VISIBLE = ("ai.usage.outputTokenDetails.textTokens",)
# Attributes that hold a usage object, and the way to it; "*" is every item of a list, whose counts are added up.
USAGE_OBJECTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("gen_ai.usage", ()), ("llm.usage", ()), ("ai.usage", ()), ("usage", ()), ("mlflow.chat.tokenUsage", ()),
    ("braintrust.metrics", ()), ("gcp.vertex.agent.llm_response", ("usage_metadata",)),
    ("haystack.component.output", ("replies", "*", "meta", "usage")),
)  # fmt: skip
MODEL_OBJECTS = (("haystack.component.output", ("replies", "*", "meta", "model")),)
DETAIL_OBJECTS = {
    "gen_ai.usage.input_token_details": {"cache_read": "cached_read_tokens", "cache_creation": "cache_write_tokens"},
    "gen_ai.usage.output_token_details": {"reasoning": "reasoning_tokens"},
}
LANGFUSE_CACHE_READ = (
    "input_cached_tokens", "input_cache_read", "cache_read_input_tokens", "prompt_details.cache_read",
)  # fmt: skip
LANGFUSE_CACHE_WRITE = ("input_cache_creation", "cache_creation_input_tokens", "input_cache_write")
LANGFUSE_REASONING = ("output_reasoning_tokens", "output_reasoning", "completion_details.reasoning")
COST = (
    "llm.cost.total", "gen_ai.usage.cost", "gen_ai.usage.total_cost", "gen_ai.cost.total", "operation.cost",
    "gen_ai.cost.total_cost", "litellm.cost.total", "gen_ai.usage.cost.total", "gen_ai.usage.cost.total_usd",
    "gen_ai.usage.cost_usd", "gen_ai.cost.usd", "gen_ai.cost.amount", "llm.usage.total_cost", "llm.usage.cost",
)  # fmt: skip
BARE_COST = ("cost_usd", "total_cost_usd", "cost.usd")
COST_PARTS = (
    ("llm.cost.prompt", "llm.cost.completion"), ("gen_ai.usage.input_cost", "gen_ai.usage.output_cost"),
    ("gen_ai.cost.input_cost", "gen_ai.cost.output_cost"), ("gen_ai.usage.cost.prompt", "gen_ai.usage.cost.completion"),
    ("gen_ai.usage.cost.input", "gen_ai.usage.cost.output"), ("litellm.cost.input", "litellm.cost.output"),
    ("gen_ai.cost.input", "gen_ai.cost.output"),
)  # fmt: skip
STREAMED = ("gen_ai.request.stream", "llm.is_streaming")
# Time to first token, with the nanoseconds of its unit.
_SECONDS, _MILLISECONDS = 1_000_000_000, 1_000_000
FIRST_TOKEN = (
    *((name, _SECONDS) for name in (
        "gen_ai.response.time_to_first_chunk", "gen_ai.server.time_to_first_token",
        "gen_ai.latency.time_to_first_token", "gen_ai.client.operation.time_to_first_chunk",
        "gen_ai.response.time_to_first_token", "gen_ai.server.ttft", "lk.response.ttft")),
    *((name, _MILLISECONDS) for name in (
        "ai.response.msToFirstChunk", "ai.stream.msToFirstChunk", "copilot_chat.time_to_first_token",
        "gen_ai.response.time_to_first_token_ms", "gen_ai.server.ttft_ms")),
)  # fmt: skip
BARE_FIRST_TOKEN = (
    ("ttft_ms", _MILLISECONDS), ("time_to_first_token_ms", _MILLISECONDS), ("first_token_ms", _MILLISECONDS),
    ("time_to_first_token", _SECONDS),
)  # fmt: skip
# Instrumentations, by how the name of their scope begins, that write milliseconds under a name of seconds.
FIRST_TOKEN_IN_MS = ("strands",)
FIRST_TOKEN_EVENTS = frozenset(
    {"First Token Stream Event", "ai.stream.firstChunk", "llm.content.completion.chunk", "gen_ai.content.chunk"}
)
ANNOTATIONS = (
    ("annotations", "annotation"), ("evaluations", "evaluation"),
    ("trace.annotations", "annotation"), ("trace.evaluations", "evaluation"),
)  # fmt: skip

INPUT_VALUES = (
    "ai.prompt.messages", "ai.prompt", "langfuse.observation.input", "input.value", "gen_ai.prompt",
    "traceloop.entity.input", "gen_ai.retrieval.query.text", "gen_ai.tool.call.arguments", "ai.toolCall.args",
    "reranker.query", "gcp.vertex.agent.tool_call_args", "tool_arguments",
)  # fmt: skip
OUTPUT_VALUES = (
    "ai.response.text", "ai.response.object", "langfuse.observation.output", "output.value", "gen_ai.completion",
    "traceloop.entity.output", "gen_ai.tool.call.result", "ai.toolCall.result", "gcp.vertex.agent.tool_response",
    "tool_response", "final_result",
)  # fmt: skip
TOOL_NAME = ("gen_ai.tool.name", "tool.name", "ai.toolCall.name", "traceloop.entity.name", "tool_name")
TOOL_CALL = ("gen_ai.tool.call.id", "tool.id", "ai.toolCall.id", "tool_use_id")
TOOL_ARGUMENTS = (
    "gen_ai.tool.call.arguments", "tool.parameters", "ai.toolCall.args", "gcp.vertex.agent.tool_call_args",
    "tool_arguments", "full_command",
)  # fmt: skip
TOOL_RESULT = ("gen_ai.tool.call.result", "ai.toolCall.result", "gcp.vertex.agent.tool_response", "tool_response")
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

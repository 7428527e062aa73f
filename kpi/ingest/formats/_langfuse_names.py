"""Names of Langfuse's fields: the spellings of each layout, and what is read, repeated or mere bookkeeping."""

from __future__ import annotations

from kpi.ingest.spans.builder import fields

# Spellings of blob storage, of ClickHouse and PostgreSQL tables, and of v4 events -> the API's.
NAMES: dict[str, str] = {
    "trace_id": "traceId", "span_id": "id", "parent_observation_id": "parentObservationId",
    "parent_span_id": "parentObservationId", "start_time": "startTime", "end_time": "endTime",
    "status_message": "statusMessage", "provided_model_name": "model", "providedModelName": "model",
    "model_parameters": "modelParameters", "usage_details": "usageDetails", "cost_details": "costDetails",
    "completion_start_time": "completionStartTime", "prompt_version": "promptVersion", "total_cost": "totalCost",
    "calculated_total_cost": "calculatedTotalCost", "time_to_first_token": "timeToFirstToken",
    "prompt_tokens": "promptTokens", "completion_tokens": "completionTokens", "user_id": "userId",
    "session_id": "sessionId", "trace_tags": "tags", "traceTags": "tags", "data_type": "dataType",
    "string_value": "stringValue", "long_string_value": "longStringValue", "observation_id": "observationId",
    "dataset_run_id": "datasetRunId",
}  # fmt: skip

_COMMON = fields(
    "id traceId name environment version release metadata input output tags userId sessionId totalCost latency",
    # Whose row it is, when it was written, how it is shown, what repeats another field:
    "projectId project_id createdAt created_at updatedAt updated_at event_ts is_deleted externalId external_id",
    "bookmarked public htmlPath traceName trace_name traceTimestamp created_by_api_key_id source_tag",
)
TRACE = _COMMON | fields("timestamp scores observations corrections")
OBSERVATION = _COMMON | fields(
    "type parentObservationId startTime endTime level statusMessage model modelParameters usageDetails costDetails",
    "completionStartTime promptVersion latencyMs timeToFirstToken timeToFirstTokenMs usage unit inputUsage outputUsage",
    "promptTokens completionTokens calculatedTotalCost metadata_names metadata_values",
    # Ids of models, prompts and price tiers, sums and parts of what is read, counts of what stands beside:
    "modelId model_id internalModelId internalModel internal_model_id promptId prompt_id prompt_name promptName",
    "usagePricingTierId usagePricingTierName usage_pricing_tier_id usage_pricing_tier_name providedUsageDetails",
    "providedCostDetails provided_usage_details provided_cost_details inputCost outputCost input_cost output_cost",
    "totalUsage totalTokens total_tokens calculatedInputCost calculatedOutputCost calculated_input_cost",
    "calculated_output_cost inputPrice outputPrice totalPrice input_price output_price total_price",
    "promptId promptName service_name service_version scope_name scope_version source telemetry_sdk_language",
    "telemetry_sdk_name telemetry_sdk_version",
    "toolDefinitionsCount toolCallsCount is_root_observation isRootObservation is_app_root isAppRoot",
)
SCORE = fields(
    "id traceId observationId sessionId datasetRunId name value stringValue longStringValue dataType source comment",
    "timestamp subject projectId project_id environment createdAt created_at updatedAt updated_at event_ts is_deleted",
    "traceName userId tags configId config_id queueId queue_id executionTraceId execution_trace_id",
)
# Fields in which a list may stand by nature. In any other field of a UI export it is a score of the field's name.
LISTS = fields(
    "tags toolCalls toolCallNames tool_calls tool_call_names comments observations scores corrections",
    "metadata_names metadata_values toolDefinitions tool_definitions",
)
PAYLOADS = fields("input output metadata")
# Attributes of the span behind an observation that say more than Langfuse's own fields do.
ATTRIBUTES = fields(
    "gen_ai.provider.name gen_ai.system llm.provider llm.system ai.model.provider gen_ai.request.model",
    "gen_ai.tool.name gen_ai.tool.call.id tool.name ai.toolCall.name ai.toolCall.id gen_ai.response.finish_reasons",
    "gen_ai.guardrail.verdict.type gen_ai.guardrail.action.type gen_ai.guardrail.severity error.type",
    "gen_ai.guardrail.risk.category gen_ai.guardrail.security.risk.category gen_ai.guardrail.component.name",
)
KIND_ATTRIBUTES = ("gen_ai.operation.name", "openinference.span.kind", "traceloop.span.kind", "ai.operationId")
# What the SDK writes into the metadata of each observation by itself.
SDK_METADATA = fields("attributes resourceAttributes scope")

"""Record, keep and understand what your LLM agents use: tokens, cost and latency.

Importing this takes a few milliseconds: records, stores, analysis and pictures are loaded when their names are first
used, and what an extra would install is asked for only then.
"""

import importlib
from typing import TYPE_CHECKING, Any

from mofa_usage.errors import (
    ConstraintError,
    MissingExtraError,
    MofaUsageError,
    NotFoundError,
    PersistenceError,
    QueryError,
    RecordingError,
    SerializationError,
    StoreConnectionError,
    UsageError,
)

if TYPE_CHECKING:
    from mofa_usage.analysis import Breakdown
    from mofa_usage.exporting import export_parquet
    from mofa_usage.importing import ImportResult, import_calls
    from mofa_usage.pricing import Price, PriceBook
    from mofa_usage.recording import (
        AgentPlugin,
        ChatClient,
        ChatMetadata,
        ChatRequest,
        LLMAgent,
        LLMAgentBuilder,
        PersistenceContext,
        PersistencePlugin,
        Recorder,
        RecorderStats,
    )
    from mofa_usage.records import (
        NIL_UUID,
        Agent,
        AgentConfig,
        ApiCallStatus,
        ChatSession,
        LLMApiCall,
        LLMMessage,
        MessageContent,
        MessageRole,
        PriceDetails,
        Provider,
        QueryFilter,
        TokenDetails,
        ToolCallContent,
        ToolResultContent,
        UsageStatistics,
    )
    from mofa_usage.report import write_report
    from mofa_usage.stores import (
        BackfillResult,
        InMemoryStore,
        MySqlStore,
        PostgresStore,
        SqliteStore,
        Store,
        backfill_prices,
        connect,
        from_env,
    )
    from mofa_usage.usage import UsageFrame, load_usage, load_usage_async
    from mofa_usage.warehouse import Warehouse

__version__ = "0.1.0"

_HOMES = {
    "NIL_UUID": "mofa_usage.records",
    "Agent": "mofa_usage.records",
    "AgentConfig": "mofa_usage.records",
    "AgentPlugin": "mofa_usage.recording",
    "ApiCallStatus": "mofa_usage.records",
    "BackfillResult": "mofa_usage.stores",
    "Breakdown": "mofa_usage.analysis",
    "ChatClient": "mofa_usage.recording",
    "ChatMetadata": "mofa_usage.recording",
    "ChatRequest": "mofa_usage.recording",
    "ChatSession": "mofa_usage.records",
    "ImportResult": "mofa_usage.importing",
    "InMemoryStore": "mofa_usage.stores",
    "LLMAgent": "mofa_usage.recording",
    "LLMAgentBuilder": "mofa_usage.recording",
    "LLMApiCall": "mofa_usage.records",
    "LLMMessage": "mofa_usage.records",
    "MessageContent": "mofa_usage.records",
    "MessageRole": "mofa_usage.records",
    "MySqlStore": "mofa_usage.stores",
    "PersistenceContext": "mofa_usage.recording",
    "PersistencePlugin": "mofa_usage.recording",
    "PostgresStore": "mofa_usage.stores",
    "Price": "mofa_usage.pricing",
    "PriceBook": "mofa_usage.pricing",
    "PriceDetails": "mofa_usage.records",
    "Provider": "mofa_usage.records",
    "QueryFilter": "mofa_usage.records",
    "Recorder": "mofa_usage.recording",
    "RecorderStats": "mofa_usage.recording",
    "SqliteStore": "mofa_usage.stores",
    "Store": "mofa_usage.stores",
    "TokenDetails": "mofa_usage.records",
    "ToolCallContent": "mofa_usage.records",
    "ToolResultContent": "mofa_usage.records",
    "UsageFrame": "mofa_usage.usage",
    "UsageStatistics": "mofa_usage.records",
    "Warehouse": "mofa_usage.warehouse",
    "backfill_prices": "mofa_usage.stores",
    "connect": "mofa_usage.stores",
    "export_parquet": "mofa_usage.exporting",
    "from_env": "mofa_usage.stores",
    "import_calls": "mofa_usage.importing",
    "load_usage": "mofa_usage.usage",
    "load_usage_async": "mofa_usage.usage",
    "write_report": "mofa_usage.report",
}

__all__ = [
    "NIL_UUID",
    "Agent",
    "AgentConfig",
    "AgentPlugin",
    "ApiCallStatus",
    "BackfillResult",
    "Breakdown",
    "ChatClient",
    "ChatMetadata",
    "ChatRequest",
    "ChatSession",
    "ConstraintError",
    "ImportResult",
    "InMemoryStore",
    "LLMAgent",
    "LLMAgentBuilder",
    "LLMApiCall",
    "LLMMessage",
    "MessageContent",
    "MessageRole",
    "MissingExtraError",
    "MofaUsageError",
    "MySqlStore",
    "NotFoundError",
    "PersistenceContext",
    "PersistenceError",
    "PersistencePlugin",
    "PostgresStore",
    "Price",
    "PriceBook",
    "PriceDetails",
    "Provider",
    "QueryError",
    "QueryFilter",
    "Recorder",
    "RecorderStats",
    "RecordingError",
    "SerializationError",
    "SqliteStore",
    "Store",
    "StoreConnectionError",
    "TokenDetails",
    "ToolCallContent",
    "ToolResultContent",
    "UsageError",
    "UsageFrame",
    "UsageStatistics",
    "Warehouse",
    "backfill_prices",
    "connect",
    "export_parquet",
    "from_env",
    "import_calls",
    "load_usage",
    "load_usage_async",
    "write_report",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]

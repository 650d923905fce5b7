"""The five tables and the way between a row and a record.

The columns are the records' fields: a table is derived from its record class, column by column, and each column is of
a `Kind` that follows from the field's type. A kind says how the three databases declare such a column; how a value of
a kind is written and read is data of each dialect (`mofa_usage.stores.dialects`), and `RowCodec` puts the two together.

The tables are shared with MoFA's Rust agents. What they write may differ from what we write, and reads the same:

- JSON leaves out absent keys, and has prices as JSON numbers;
- a tenant may be NULL, which is the nil UUID; an unknown status is `failed`;
- the table of calls may lack the column `labels`, which we add to tables of our own only: `API_CALL_UNLABELLED`;
- a trigger may have set `update_time` from the server's clock, which may be behind the agent's.
"""

import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum, StrEnum
from itertools import islice
from operator import itemgetter
from typing import Any, Generic, TypeVar, Union, get_args, get_origin
from uuid import UUID

import sqlalchemy as sa
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import to_json
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.types import TypeEngine

from mofa_usage.errors import SerializationError
from mofa_usage.labels import NO_LABELS
from mofa_usage.records import NIL_UUID, Agent, ApiCallStatus, ChatSession, LLMApiCall, LLMMessage, Provider, Record

__all__ = [
    "AGENT",
    "API_CALL",
    "API_CALL_UNLABELLED",
    "CHAT_SESSION",
    "LABELS",
    "LLM_MESSAGE",
    "PROVIDER",
    "TYPES",
    "Kind",
    "RowCodec",
    "TableSpec",
    "bare_type",
    "metadata",
    "read_prices",
    "read_status",
    "write_json",
]


class Kind(Enum):
    """What a column holds; its value is the word that the documentation uses."""

    ID = "id"
    TEXT = "text"
    KEY = "key"  # text that is indexed, of at most 600 characters
    NAME = "status, role"
    INTEGER = "integer"
    FLAG = "flag"
    RATE = "rate"
    MONEY = "money"
    TIME = "time"
    JSON = "json"


def _type(default: TypeEngine[Any], pg: TypeEngine[Any], my: TypeEngine[Any]) -> TypeEngine[Any]:
    return default.with_variant(pg, "postgresql").with_variant(my, "mysql", "mariadb")


TYPES: Mapping[Kind, TypeEngine[Any]] = {
    Kind.ID: _type(sa.TEXT(), postgresql.UUID(), sa.VARCHAR(36)),
    Kind.TEXT: _type(sa.TEXT(), sa.TEXT(), mysql.LONGTEXT()),
    Kind.KEY: _type(sa.TEXT(), sa.TEXT(), sa.VARCHAR(600)),
    Kind.NAME: _type(sa.TEXT(), sa.TEXT(), sa.VARCHAR(50)),
    Kind.INTEGER: sa.INTEGER(),
    Kind.FLAG: _type(sa.INTEGER(), sa.BOOLEAN(), mysql.BOOLEAN()),
    Kind.RATE: _type(sa.REAL(), sa.DOUBLE_PRECISION(), mysql.DOUBLE()),
    Kind.MONEY: _type(sa.REAL(), sa.NUMERIC(15, 10), mysql.DECIMAL(15, 10)),
    Kind.TIME: _type(sa.TEXT(), sa.TIMESTAMP(timezone=True), mysql.DATETIME(fsp=6)),
    Kind.JSON: _type(sa.TEXT(), postgresql.JSONB(), mysql.LONGTEXT()),
}
"""How each kind is declared on SQLite, PostgreSQL and MySQL/MariaDB."""

_KINDS: Mapping[type, Kind] = {
    UUID: Kind.ID,
    SecretStr: Kind.TEXT,
    StrEnum: Kind.NAME,
    str: Kind.TEXT,
    bool: Kind.FLAG,  # before int, which it is too
    int: Kind.INTEGER,
    float: Kind.RATE,
    Decimal: Kind.MONEY,
    datetime: Kind.TIME,
}


def bare_type(annotation: Any) -> Any:
    """What values a field has: `int` of `Annotated[int, ...] | None`, `dict` of `dict[str, Any]`, `Any` of `Any`."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return bare_type(next(part for part in get_args(annotation) if part is not type(None)))
    if hasattr(annotation, "__metadata__"):
        return bare_type(get_args(annotation)[0])
    return annotation if origin is None else origin


def _kind(annotation: Any) -> Kind:
    bare = bare_type(annotation)
    if isinstance(bare, type):
        for base, kind in _KINDS.items():
            if issubclass(bare, base):
                return kind
    return Kind.JSON


_R = TypeVar("_R", bound=Record)

metadata = sa.MetaData()


@dataclass(frozen=True, eq=False)
class TableSpec(Generic[_R]):
    """A table: the record that a row is, the columns with their kinds, and SQLAlchemy's description of it."""

    record: type[_R]
    kinds: Mapping[str, Kind]
    table: sa.Table

    @property
    def columns(self) -> tuple[str, ...]:
        """The column names, in the order of the table."""
        return tuple(self.kinds)

    def without(self, column: str) -> "TableSpec[_R]":
        """The same table where it lacks a column, which the record has a default for."""
        kinds = {name: kind for name, kind in self.kinds.items() if name != column}
        columns = [sa.Column(name, self.table.c[name].type, primary_key=name == "id") for name in kinds]
        return TableSpec(self.record, types.MappingProxyType(kinds), sa.Table(self.table.name, sa.MetaData(), *columns))


def _define(
    name: str,
    record: type[_R],
    *,
    keys: Iterable[str] = (),
    nullable: Iterable[str] = (),
    indexes: Iterable[tuple[str, *tuple[str, ...]]] = (),
    unique: Mapping[str, Sequence[str]] | None = None,
) -> TableSpec[_R]:
    fields = dict(record.model_fields)
    order = ["id", *(field for field in fields if field not in ("id", "create_time", "update_time"))]
    kinds = {
        field: Kind.KEY if field in keys else _kind(fields[field].annotation)
        for field in (*order, "create_time", "update_time")
    }
    columns = [
        sa.Column(
            field,
            TYPES[kind],
            primary_key=field == "id",
            nullable=field in nullable or _may_lack(record, field),
        )
        for field, kind in kinds.items()
    ]
    table = sa.Table(name, metadata, *columns)
    for index, *index_columns in indexes:
        sa.Index(index, *(table.c[column] for column in index_columns))
    for constraint, key_columns in (unique or {}).items():
        table.append_constraint(sa.UniqueConstraint(*key_columns, name=constraint))
    return TableSpec(record, types.MappingProxyType(kinds), table)


def _may_lack(record: type[BaseModel], field: str) -> bool:
    """Whether a field can be None: an optional one, or any JSON."""
    annotation = record.model_fields[field].annotation
    return annotation is Any or type(None) in get_args(annotation)


LLM_MESSAGE = _define(
    "entity_llm_message",
    LLMMessage,
    nullable=["tenant_id"],
    indexes=[("idx_message_session", "chat_session_id")],
)
LABELS = "labels"
API_CALL = _define(
    "entity_llm_api_call",
    LLMApiCall,
    keys=["model_name"],
    nullable=[LABELS],
    indexes=[
        ("idx_api_call_session", "chat_session_id", "create_time"),
        ("idx_api_call_user", "user_id", "create_time"),
        ("idx_api_call_agent", "agent_id", "create_time"),
        ("idx_api_call_status", "status", "create_time"),
        ("idx_api_call_model", "model_name", "create_time"),
        ("idx_api_call_tenant", "tenant_id", "create_time"),
        ("idx_api_call_time", "create_time"),
    ],
)
API_CALL_UNLABELLED = API_CALL.without(LABELS)
CHAT_SESSION = _define(
    "entity_chat_session",
    ChatSession,
    nullable=["tenant_id", "metadata"],
    indexes=[("idx_session_user", "user_id")],
)
AGENT = _define(
    "entity_agent",
    Agent,
    keys=["agent_code"],
    indexes=[("idx_agent_tenant", "tenant_id"), ("idx_agent_order", "agent_order")],
    unique={"uk_entity_agent_code": ["agent_code"]},
)
PROVIDER = _define(
    "entity_provider",
    Provider,
    keys=["provider_name"],
    indexes=[("idx_provider_tenant", "tenant_id"), ("idx_provider_enabled", "enabled")],
    unique={"uk_entity_provider_tenant": ["tenant_id", "provider_name"]},
)

_PRICES = ("input_price", "output_price")
_STATUSES = frozenset(ApiCallStatus)


def write_json(value: Any) -> str:
    """JSON as MoFA writes it: keys of absent fields are left out, prices are JSON numbers."""
    if isinstance(value, BaseModel):
        further = value.__pydantic_extra__
        value = {name: item for name, item in value.__dict__.items() if item is not None}
        if "currency" in value:
            for price in _PRICES:
                if price in value:
                    value[price] = float(value[price])  # at most 15 digits, which a double holds exactly
        if further:
            value.update(further)
    return to_json(value).decode()


def read_prices(details: Any) -> Any:
    """Price details with their prices rounded to the ten places that a price has: Rust computes them as doubles."""
    if isinstance(details, dict):
        for price in _PRICES:
            if isinstance(details.get(price), float):
                details[price] = Decimal(f"{details[price]:.10f}")
    return details


def read_status(text: str) -> str:
    """The status that a column's text means; one that we do not know is `failed`."""
    return text if text in _STATUSES else ApiCallStatus.FAILED


def _write_labels(column: Iterable[Mapping[str, str]]) -> list[str | None]:
    return [write_json(labels) if labels else None for labels in column]


def _write_secret(value: SecretStr) -> str:
    return value.get_secret_value()


class RowCodec(Generic[_R]):
    """Writes the records of a table as rows of one dialect and reads them back.

    `writers` work on a whole column at a time, `readers` on one value; a kind without one goes as it is. NULL is
    `None` on both sides and never reaches them.
    """

    _CHUNK = 128  # small enough that the garbage collector does not look at every chunk

    def __init__(
        self,
        spec: TableSpec[_R],
        writers: Mapping[Kind, Callable[[Sequence[Any]], Iterable[Any]]],
        readers: Mapping[Kind, Callable[[Any], Any]],
    ) -> None:
        self._spec = spec
        self._columns = spec.columns
        self._values = itemgetter(*spec.columns)
        self._writers = [writers.get(kind) for kind in spec.kinds.values()]
        self._may_lack = [_may_lack(spec.record, name) for name in spec.columns]
        if LABELS in spec.kinds:
            self._writers[spec.columns.index(LABELS)] = _write_labels
        if spec.record is Provider:
            self._writers[spec.columns.index("api_key")] = lambda column: map(_write_secret, column)
        self._writing = [(place, writer) for place, writer in enumerate(self._writers) if writer is not None]
        self._readers = [(name, readers[kind]) for name, kind in spec.kinds.items() if kind in readers]
        self._readers += [(name, reader) for name, reader in _READERS.items() if name in spec.kinds]

    def write(self, records: Iterable[_R]) -> Iterator[tuple[Any, ...]]:
        """Rows, in the order of the records; made in chunks, so that the records may be many."""
        source = iter(records)
        while chunk := list(islice(source, self._CHUNK)):
            columns: list[Iterable[Any]] = []
            values = zip(*[self._values(record.__dict__) for record in chunk], strict=True)
            for writer, may_lack, column in zip(self._writers, self._may_lack, values, strict=True):
                if writer is not None:
                    columns.append(_write_present(writer, column) if may_lack else writer(column))
                else:
                    columns.append(column)
            yield from zip(*columns, strict=True)

    def write_one(self, record: _R) -> tuple[Any, ...]:
        """The row of one record."""
        values = list(self._values(record.__dict__))
        for place, writer in self._writing:
            if values[place] is not None:
                (values[place],) = writer((values[place],))
        return tuple(values)

    def read(self, row: Sequence[Any]) -> _R:
        """The record that a row is; what stands behind its columns is left out.

        Raises:
            SerializationError: it is none; the message names the table, the id and the columns, not the values.
        """
        fields = dict(zip(self._columns, row))  # noqa: B905 (a row may be longer)
        try:
            for name, reader in self._readers:
                if fields[name] is not None:
                    fields[name] = reader(fields[name])
            _fill(fields)
            record: _R = self._spec.record.__pydantic_validator__.validate_python(fields, context=_STORED)
            return record
        except ValidationError as error:
            why = "; ".join(f"{'.'.join(map(str, line['loc'])) or 'row'}: {line['msg']}" for line in error.errors())
        except (ValueError, TypeError, ArithmeticError) as error:
            why = str(error)
        table = self._spec.table.name
        raise SerializationError(f"the row {fields['id']} of {table} is no {self._spec.record.__name__}: {why}")


_READERS: Mapping[str, Callable[[Any], Any]] = {"status": read_status, "price_details": read_prices}
_STORED: Mapping[str, bool] = {"stored": True}


def _write_present(writer: Callable[[Sequence[Any]], Iterable[Any]], column: Sequence[Any]) -> Iterable[Any]:
    present = [value for value in column if value is not None]
    if len(present) == len(column):
        return writer(present)
    written = iter(writer(present))
    return [None if value is None else next(written) for value in column]


def _fill(fields: dict[str, Any]) -> None:
    if fields["tenant_id"] is None:
        fields["tenant_id"] = NIL_UUID
    if "metadata" in fields and fields["metadata"] is None:
        fields["metadata"] = {}
    if fields.get(LABELS, NO_LABELS) is None:
        fields[LABELS] = NO_LABELS
    if fields["update_time"] < fields["create_time"]:
        fields["update_time"] = fields["create_time"]

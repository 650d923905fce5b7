"""Calls have labels.

The column is added to a table that we made, which is known by the order of its columns: MoFA's have another. MoFA's
agents read `SELECT *` by prepared statements, which a new column breaks until they reconnect, so a table that MoFA made
is left as it is until somebody asks for it and restarts them: `mofa-usage migrate`.
"""

import sqlalchemy as sa
from alembic import op
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.engine import Connection

from mofa_usage.schema import TYPES, Kind
from mofa_usage.stores.migrations.tables import columns_by_table

revision = "0002"
down_revision = "0001"

_TABLE = "entity_llm_api_call"
_OURS = ["model_name", "error_message", "error_code", "api_response_id", "status"]
"""Columns that stand side by side in a table of ours; in MoFA's the status comes right after the model."""


def upgrade() -> None:
    """Add the column, where the table is ours."""
    if op.get_context().as_sql or _is_ours_and_lacks_it(columns_by_table(op.get_bind())[_TABLE]):
        op.add_column(_TABLE, _labels())


def upgrade_mofas(connection: Connection) -> None:
    """Add the column to a table that MoFA made."""
    if "labels" not in columns_by_table(connection)[_TABLE]:
        Operations(MigrationContext.configure(connection)).add_column(_TABLE, _labels())


def _is_ours_and_lacks_it(columns: list[str]) -> bool:
    # MySQL keeps a column whose maker was killed before the revision was written down.
    place = columns.index(_OURS[0])
    return columns[place : place + len(_OURS)] == _OURS and "labels" not in columns


def _labels() -> sa.Column[object]:
    return sa.Column("labels", TYPES[Kind.JSON], nullable=True)

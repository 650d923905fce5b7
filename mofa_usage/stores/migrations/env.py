"""Run by Alembic: where the revisions go, to a connection or to a script."""

from alembic import context

from mofa_usage.stores.migrations import VERSION_TABLE

attributes = context.config.attributes
if context.is_offline_mode():
    context.configure(dialect_name=attributes["dialect_name"], version_table=VERSION_TABLE, literal_binds=True)
else:
    context.configure(connection=attributes["connection"], version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()

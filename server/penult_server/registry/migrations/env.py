"""Run by alembic: the revisions, over the connection and within the transaction that `run_migrations` has."""

from alembic import context

from penult_server.registry.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=False,
)
context.run_migrations()

"""Run by Alembic: migrates within the transaction that `upgrade` has begun."""

from alembic import context

from personalrm.store.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()

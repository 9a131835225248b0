"""Brings a database to the newest revision with Alembic."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine

from personalrm.store.tables import REVISIONS

FOLDER = Path(__file__).parent


def upgrade(engine: Engine) -> bool:
    """Run every migration that is missing, all in one transaction; False when the revision is not one of ours."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    with engine.connect().execution_options(is_writing=True) as connection, connection.begin():
        known = {script.revision for script in ScriptDirectory(str(FOLDER)).walk_revisions()}
        if not known.issuperset(connection.execute(REVISIONS.select()).scalars()):
            return False
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError:
            return False
    return True

#!/usr/bin/env bash
# Writes down how a new SQLite ledger stands after every migration, so that one is made at once and without
# Alembic. Run it after a migration was added: deploy/make_new_ledger.sh
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/python - <<'PYTHON'
import tempfile
from pathlib import Path

from callsheet.ledger import migrate
from callsheet.ledger.sqlite import engine_for

with tempfile.TemporaryDirectory() as folder:
    engine = engine_for(Path(folder) / "ledger.sqlite")
    migrate.upgrade(engine)
    with engine.connect() as connection:
        statements = connection.exec_driver_sql(migrate.STATEMENTS).scalars().all()
    engine.dispose()
text = "\n".join(line.rstrip() for line in "\n\n".join(statements).splitlines())
migrate.NEW_LEDGER.write_text(text + "\n", encoding="utf-8")
print(migrate.NEW_LEDGER, len(statements), "statements")
PYTHON

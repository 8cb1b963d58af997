#!/usr/bin/env bash
# Makes the empty, migrated database that a run's own Prefect server starts from. Run it after every change
# of the Prefect pin: deploy/make_prefect_database.sh
set -euo pipefail
cd "$(dirname "$0")/.."
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
PREFECT_HOME=$home .venv/bin/prefect server database upgrade -y
PREFECT_HOME=$home .venv/bin/python - <<'PYTHON'
import gzip, os, pathlib, sqlite3
from importlib import metadata

home = pathlib.Path(os.environ["PREFECT_HOME"])
sqlite3.connect(home / "prefect.db").execute("VACUUM INTO ?", (str(home / "small.db"),))
target = pathlib.Path("callsheet/cli/data") / f"prefect-{metadata.version('prefect')}.sqlite.gz"
target.write_bytes(gzip.compress((home / "small.db").read_bytes(), 9, mtime=0))
print(target, target.stat().st_size, "bytes")
PYTHON

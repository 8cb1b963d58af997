# Everything a fresh machine with Python 3.11+, pip and make needs. `make demo` is the place to start.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/ready
# Tests wait for other processes a third of their time.
WORKERS := $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')

.PHONY: demo test torture lint bench docs lock clean

$(READY): deploy/requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Callsheet needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V). Try: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Setting up $(VENV) (once, about a minute)" >&2
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r deploy/requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@# as pip does with a package that is not editable; where Python may write no bytecode, each start pays for it
	@$(BIN)/python -m compileall -q callsheet flows tasks pricing manifests
	@touch $(READY)

demo: $(READY)  ## the main job on the sandbox: no key, no server, no money
	@$(BIN)/callsheet demo

test: lint  ## every check: lint, types, import directions, tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

torture: $(READY)  ## the rig in full: kills, power cuts, crowds; about half an hour, one table of figures
	$(BIN)/python -m tests.rig
	CALLSHEET_TEST_EXAMPLES=500 $(BIN)/python -m pytest tests/unit tests/contract/sandbox/test_platform_schema.py \
	  tests/contract/sandbox/test_hostile_requests.py --timeout 1800
	$(BIN)/python -m pytest -m torture

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)  ## every figure beside what it is compared with
	@broken=0; for script in benchmarks/bench_*.py; do \
	  echo "== $$script"; $(BIN)/python $$script || broken=1; done; exit $$broken

docs: $(READY)  ## the site in build/site, with every link checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file .mkdocs.yml

lock: $(READY)  ## renew the locked versions; needs uv on the PATH
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --group dev --extra s3 --extra metrics pyproject.toml -o deploy/requirements-dev.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --extra s3 --extra metrics pyproject.toml -c deploy/requirements-dev.txt -o deploy/requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --group build -c deploy/requirements-dev.txt -o deploy/requirements-build.txt

clean:
	rm -rf $(VENV) build dist

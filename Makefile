# Every entry point of the repository. `make help` lists them.
# Needs Python >= 3.11 and make; everything else is installed into .venv from the locked requirements.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
EXAMPLE ?= examples/quickstart
UV      ?= uv

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

.DEFAULT_GOAL := help
.PHONY: help install dev serve test test-clients test-slow conformance check schemas bench lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The two stamps keep `make serve` and `make test` instant when nothing changed.
$(VENV)/.runtime: pyproject.toml requirements/build.lock requirements/runtime.lock
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/build.lock --requirement requirements/runtime.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.lock
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/dev.lock
	@touch $@

install: $(VENV)/.runtime ## build .venv with the command `policy`

dev: $(VENV)/.dev ## the same, with everything that the tests and checks need

serve: $(VENV)/.runtime ## serve the quick start on 127.0.0.1:8000 (EXAMPLE=examples/... for another)
	@$(BIN)/policy serve --config $(EXAMPLE)/lexgate.yaml

test: $(VENV)/.dev ## run the tests
	@$(BIN)/python -m pytest -n 2 -m "not slow and not clients"

test-clients: $(VENV)/.dev ## drive coding agents and the clients for Node through Lexgate (needs node and npm)
	@npm ci --prefix tests/clients --ignore-scripts --no-audit --no-fund --loglevel error
	@$(BIN)/python -m pytest -n 2 -m clients tests/clients

test-slow: $(VENV)/.dev ## kills, edits under load, a soak (LEXGATE_SOAK_REQUESTS=1000000 for a longer one)
	@$(BIN)/python -m pytest -m slow --timeout 3600 --durations 0 -rP

conformance: $(VENV)/.dev ## try every client in front of every backend under every rule, and write docs/conformance.md
	@$(BIN)/python -m tests.conformance.wire

check: $(VENV)/.dev ## all that must be green at every commit
	@$(BIN)/ruff check engine tests
	@$(BIN)/ruff format --check engine tests
	@$(BIN)/mypy
	@$(BIN)/policy lint policies examples
	@$(BIN)/policy schema --check
	@$(BIN)/python -m pytest -n 2 -m "not slow and not clients"

schemas: $(VENV)/.runtime ## write schemas/ and the generated pages of docs/ anew
	@$(BIN)/policy schema --write

bench: $(VENV)/.dev ## our own speed, as ratios against a bare pass-through of the same run
	@$(BIN)/python -m tests.bench

lock: ## write requirements/*.lock anew from pyproject.toml; versions stay where they still fit (needs uv)
	@$(UV) pip compile --universal --python-version 3.11 --generate-hashes -q pyproject.toml -o requirements/runtime.lock --no-header
	@$(UV) pip compile --universal --python-version 3.11 --generate-hashes -q pyproject.toml --group dev -o requirements/dev.lock --no-header
	@$(UV) pip compile --universal --python-version 3.11 --generate-hashes -q requirements/build.in -o requirements/build.lock --no-header

clean: ## remove .venv and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build tests/clients/node_modules

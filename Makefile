# Every target makes the environment .venv when it is missing or older than the lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SANDBOX ?=

.DEFAULT_GOAL := help
.PHONY: help demo run up stop test check bench soak lock

help: ## Show what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 14

# The lock is complete, so nothing is resolved (pip would miss the extra of gql that dagster-graphql asks for).
$(VENV)/.runtime: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.development: $(VENV)/.runtime requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
	touch $@

demo: $(VENV)/.runtime ## The whole job on generated sample traffic, in a sandbox
	$(BIN)/cowrie-assets demo

run: $(VENV)/.runtime ## The main job on your logs: make run LOGS=<folder>
	$(BIN)/cowrie-assets run $(if $(LOGS),--logs "$(LOGS)")

up: $(VENV)/.runtime ## The Dagster UI on 127.0.0.1:3000 (SANDBOX=1 for the demo's state)
	$(BIN)/cowrie-assets up $(if $(SANDBOX),--sandbox)

stop: $(VENV)/.runtime ## Stop the embedded database
	$(BIN)/cowrie-assets stop $(if $(SANDBOX),--sandbox)

test: $(VENV)/.development ## Everything that CI runs, on a real PostgreSQL that it starts itself
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not soak and not alone"
	$(BIN)/python -m pytest -n 2 -m "alone and not soak"

check: $(VENV)/.development ## Formatting, lint, types, SQL, imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/sqlfluff lint --quiet sql
	$(BIN)/lint-imports
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dg check defs

bench: $(VENV)/.development ## Measure against limits in the same run
	$(BIN)/python -m cowrie_assets_tests.benchmarks.loading
	$(BIN)/python -m cowrie_assets_tests.benchmarks.refreshing

soak: $(VENV)/.development ## The slow proofs; writes docs/soak.md
	$(BIN)/python -m cowrie_assets_tests.soak

lock: ## Pin the dependencies anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--group pyproject.toml:build pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--extra dev --constraint requirements.lock pyproject.toml -o requirements-dev.lock

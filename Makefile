# TORCH is what pip installs as torch, options included; README.md tells how to choose.
# TEST_PROCESSES run tests side by side, a file in one of them, and each has a server of its own.
PYTHON ?= python3
TORCH ?= torch==2.13.0
IMAGE ?= jacobian-service
TEST_PROCESSES ?= 2
BIN := .venv/bin
PIP := $(BIN)/pip install --no-compile
PYTEST := $(BIN)/pytest --numprocesses $(TEST_PROCESSES) --dist loadfile

.PHONY: help demo serve test test-slow test-clients lint lint-openapi check format openapi docs lock image clean

help: ## List the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

demo: .venv/stamp ## Start a server, slice the Jacobian of a robot arm, show what it took
	@$(BIN)/jacobian-service demo

serve: .venv/stamp ## Serve on http://127.0.0.1:8000
	@$(BIN)/jacobian-service serve

test: .venv/npm-stamp ## Run the tests, without the slow ones
	@$(PYTEST) -m "not slow and not gpu and not clients"

test-slow: .venv/test-stamp ## Run the slow tests
	@$(PYTEST) -m "slow and not gpu"

test-clients: .venv/npm-stamp .venv/clients-stamp ## Generate, build and run clients in all languages
	@$(BIN)/pytest -o faulthandler_timeout=600 -m clients

lint: .venv/test-stamp lint-openapi ## Check style, types, floors, Dockerfile and deployment
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy service
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/yamllint --strict deploy openapi .pre-commit-config.yaml
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml

lint-openapi: .venv/npm-stamp ## Check openapi/openapi.json by Redocly's strict rules
	REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true $(BIN)/node .venv/npm/node_modules/.bin/redocly \
		lint --config openapi/redocly.yaml openapi/openapi.json

check: lint test ## Lint, then test

format: .venv/test-stamp ## Format the code
	$(BIN)/ruff format

openapi: .venv/stamp ## Write openapi/openapi.json anew
	$(BIN)/jacobian-service openapi openapi/openapi.json

docs: .venv/stamp ## Write docs/operators.md and docs/expressions.md anew
	$(BIN)/python docs/generate.py

lock: ## Write requirements.lock anew, with a CPU build of torch
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install $(TORCH) .
	build/lock/bin/pip freeze --exclude torch --exclude jacobian-service > requirements.lock

image: ## Build the container image
	docker build --build-arg TORCH="$(TORCH)" --tag $(IMAGE) .

clean: ## Remove the environment and what tools left
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/stamp: pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) $(TORCH)
	$(PIP) --editable .
	@touch $@

.venv/test-stamp: .venv/stamp
	$(PIP) --editable ".[test]"
	@touch $@

.venv/clients-stamp: .venv/test-stamp
	$(PIP) --editable ".[clients]"
	@touch $@

.venv/npm-stamp: .venv/test-stamp tests/clients/package.json tests/clients/package-lock.json
	mkdir -p .venv/npm
	cp tests/clients/package.json tests/clients/package-lock.json .venv/npm
	$(BIN)/npm ci --prefix .venv/npm --ignore-scripts --no-audit --no-fund
	@touch $@

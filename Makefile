# TORCH is what pip installs as torch, options included; README.md tells how to choose.
PYTHON ?= python3
TORCH ?= torch==2.13.0
IMAGE ?= jacobian-service
BIN := .venv/bin

.PHONY: help demo serve test test-slow lint check format openapi docs lock image clean

help: ## List the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

demo: .venv/stamp ## Start a server, slice the Jacobian of a robot arm, show what it took
	@$(BIN)/jacobian-service demo

serve: .venv/stamp ## Serve on http://127.0.0.1:8000
	@$(BIN)/jacobian-service serve

test: .venv/test-stamp ## Run the tests, without the slow ones
	@$(BIN)/pytest -m "not slow and not gpu"

test-slow: .venv/test-stamp ## Run the slow tests
	@$(BIN)/pytest -m "slow and not gpu"

lint: .venv/test-stamp ## Check style, types, floors, Dockerfile and deployment
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy service
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/yamllint --strict deploy .pre-commit-config.yaml
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml

check: lint test ## Lint, then test

format: .venv/test-stamp ## Format the code
	$(BIN)/ruff format

openapi: .venv/stamp ## Write openapi/openapi.json anew
	$(BIN)/jacobian-service openapi openapi/openapi.json

docs: .venv/stamp ## Write docs/operators.md anew
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
	$(BIN)/pip install $(TORCH)
	$(BIN)/pip install --editable .
	@touch $@

.venv/test-stamp: .venv/stamp
	$(BIN)/pip install --editable ".[test]"
	@touch $@

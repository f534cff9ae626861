# `make help` lists what there is to do. Everything runs from the virtual environment in .venv.
PYTHON ?= python3
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
# Processes that test at once, of one thread each: as many as there are cores, and no more.
WORKERS ?= 2
TEST := $(BIN)/pytest --numprocesses=$(WORKERS) --dist=loadscope

.DEFAULT_GOAL := help
.PHONY: help setup format check test test-slow test-cluster coverage demo docs lock clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED)  ## create .venv and install the locked packages into it

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		f"Facetry needs Python 3.11 or newer, this is {sys.version.split()[0]}: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(INSTALLED): requirements.lock | $(BIN)/uv
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --require-hashes -r requirements.lock
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --no-deps --no-build-isolation --editable .
	@touch $@

format: $(INSTALLED)  ## rewrite the code in the house's format
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

check: $(INSTALLED)  ## lint, check the format, the declared dependencies and the types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/deptry src
	$(BIN)/mypy

test: $(INSTALLED)  ## run the tests that one waits for
	$(TEST) -m "not slow"

test-slow: $(INSTALLED)  ## run the rest: kills at many moments, several processes, whole demos
	$(TEST) -m "slow and not cluster"

test-cluster: $(INSTALLED)  ## run what starts Ray clusters: each file in a process of its own
	for file in tests/batch/ray/test_cluster.py tests/cli/test_runners.py; do \
		$(BIN)/pytest -m cluster $$file || exit 1; done

coverage: $(INSTALLED)  ## run all tests and show which lines they reach
	$(TEST) --cov=facetry --cov-report=term:skip-covered

demo: $(INSTALLED)  ## run the main job on a drawn catalogue
	$(BIN)/facetry demo

docs: $(INSTALLED)  ## renew the references of recipes and catalogues from their schemas
	$(BIN)/python -m facetry.recipe.reference > docs/recipes.md
	$(BIN)/python -m facetry.catalogue.reference > docs/catalogue.md

lock: $(BIN)/uv  ## renew requirements.lock from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --quiet --all-extras --group dev --universal \
		--generate-hashes --no-header --no-emit-index-url --upgrade -o requirements.lock

clean:  ## remove the environment and what tools left behind
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

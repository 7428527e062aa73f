# `make run` serves the app on sample data, `make check` is for every edit, `make test` runs everything that must hold.
.DEFAULT_GOAL := help
.PHONY: help run check test bench chaos format fuzz docs hooks lint quick unit screenshots clean

VENV := .venv
BIN := $(VENV)/bin
# The first Python of these that answers and is 3.11 or newer.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PORT ?= 8501

help: ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install python3 and run make again."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is needed: install python3-venv and run make again."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.app: $(VENV)/.made pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.app pyproject.toml tests/install_tools.py
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	$(BIN)/python tests/install_tools.py
	@touch $@

run: $(VENV)/.app ## serve the app at 127.0.0.1:8501 (docs/serving.md: for a team); what users loaded is kept
	@$(BIN)/python -m sample_data --if-absent
	@echo "The AI index is at http://127.0.0.1:$(PORT)"
	@$(BIN)/python -m streamlit run app/main.py --server.port $(PORT)

check: lint quick ## lint, types, import rules and the quick tests: for every edit

test: lint unit ## lint, types, import rules, unit, app and browser tests, with their coverage

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

quick: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" --durations 5 tests/unit tests/test_*.py

unit: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 10 --cov --cov-report=
	$(BIN)/python -m tests.least_covered

hooks: $(VENV)/.test ## format and lint at every commit (pre-commit)
	$(BIN)/pre-commit install --config .ci/pre-commit.yaml

fuzz: $(VENV)/.test ## 10,000 damaged copies of every export at hand through its reader; takes hours
	KPI_MUTATIONS=$${KPI_MUTATIONS:-10000} $(BIN)/python -m pytest -q -n 2 tests/unit/ingest/formats/test_mutations.py

$(VENV)/.docs: $(VENV)/.app pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

docs: $(VENV)/.docs ## build the docs site, API reference included, under build/docs
	$(BIN)/python -m sphinx -W --keep-going -E -q docs build/docs
	@echo "The site is at build/docs/index.html"

chaos: $(VENV)/.test ## every kind of damage to every kind of file of a data set, the long form; takes an hour
	$(BIN)/python -m tests.chaos
	$(BIN)/python -m tests.chaos_kills

bench: $(VENV)/.test ## speed on one million requests, beside plain pandas
	$(BIN)/python -m tests.bench

screenshots: $(VENV)/.test ## redraw docs/screenshots
	$(BIN)/python -m tests.e2e.screenshots

format: $(VENV)/.test ## format the code
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

clean: ## remove the environment; loaded data stay
	rm -rf $(VENV) *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*

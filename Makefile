# Every target sets up what it needs in .venv, from the pinned requirements.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: demo test check generate upstream-diff lint format types docs build bench mutants pins clean help

demo: $(VENV)/.run ## log in for real, against the stand-in server on loopback
	$(BIN)/python scripts/demo.py

test: $(VENV)/.test ## run the tests, and measure what they cover
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2 --dist worksteal $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

check: $(VENV)/.generate ## fail if the description is invalid or the committed client is not what it gives
	$(BIN)/openapi-spec-validator openapi/zulip-auth.yaml
	$(BIN)/python scripts/check_generated.py

generate: $(VENV)/.generate ## write the client in generated/ from openapi/
	$(BIN)/python scripts/generate.py

# A variable of make is in the environment too, where no sign in it means anything to the shell.
upstream-diff: $(VENV)/.generate ## compare the description with Zulip's own, UPSTREAM=path/to/zulip.yaml
	$(BIN)/python scripts/upstream_diff.py $(if $(OURS),--ours "$$OURS") -- "$$UPSTREAM"

lint: $(VENV)/.lint ## look for mistakes and bad form
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.lint ## mend what can be mended by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.lint ## check the types, with mypy and with pyright
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

# The variable spares us a page about mkdocs 2, which is not the one that is pinned.
docs: $(VENV)/.docs ## build the documentation in site/, with warnings as errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

build: $(VENV)/.test ## build the wheel and the sdist, and log in from the installed wheel
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python scripts/check_wheel.py

bench: $(VENV)/.bench ## compare the speed with that of others, side by side
	$(BIN)/python benchmarks/bench.py $(ARGS)

mutants: $(VENV)/.mutants ## change the code in a thousand ways, and list what no test notices
	$(BIN)/mutmut run
	$(BIN)/mutmut results

pins: $(BIN)/python ## pin anew what requirements/*.in ask for
	$(BIN)/python scripts/pin.py

clean: ## remove all that the other targets made
	rm -rf $(VENV) dist site .coverage .coverage.* .mypy_cache .ruff_cache .hypothesis .schemathesis mutants
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or newer is needed: make PYTHON=python3.11 …' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements/run.txt pyproject.toml $(BIN)/python
	$(PIP) install --requirement requirements/run.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.run
	$(PIP) install --requirement requirements/test.txt
	@touch $@

$(VENV)/.lint: requirements/lint.txt $(VENV)/.test
	$(PIP) install --requirement requirements/lint.txt
	@touch $@

$(VENV)/.docs: requirements/docs.txt $(VENV)/.run
	$(PIP) install --requirement requirements/docs.txt
	@touch $@

$(VENV)/.bench: requirements/bench.txt $(VENV)/.run
	$(PIP) install --requirement requirements/bench.txt
	@touch $@

$(VENV)/.mutants: requirements/mutants.txt $(VENV)/.test
	$(PIP) install --requirement requirements/mutants.txt
	@touch $@

$(VENV)/.generate: requirements/generate.txt $(BIN)/python
	$(PIP) install --requirement requirements/generate.txt
	@touch $@

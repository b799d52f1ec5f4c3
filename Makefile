# Every target installs what it needs into .venv, at the versions pinned in requirements/.
# To install with pip: make test INSTALL='.venv/bin/python -m pip install --quiet'
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL ?= $(BIN)/uv pip install --quiet --python $(BIN)/python

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: $(shell sed -n 's/^\([a-z][a-z0-9.-]*\):.*\#\# .*/\1/p' Makefile)

demo: $(VENV)/.run ## log in to a local stand-in server
	$(BIN)/python scripts/demo.py

test: $(VENV)/.test ## run the tests and measure branch coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2 --dist worksteal $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

test-httpx2: $(VENV)/.test ## run the tests with httpx2 in place of httpx
	PYTHONPATH=tests $(BIN)/python -m pytest -q -n 2 -m 'not slow' -p helpers.httpx2_alias $(ARGS)

# The examples also import FastAPI, which requires a newer Starlette.
LOWEST := $(VENV)-lowest
lowest: $(VENV)/.uv ## run the fast tests with the lowest versions that pyproject.toml allows
	$(BIN)/uv venv --quiet --clear --python 3.11 $(LOWEST)
	sed '/^.dependency-groups/,$$d' pyproject.toml | grep -oE '"[a-z0-9-]+>=[0-9.]+' | \
		tr -d '"' | sed 's/>=/==/' >$(LOWEST)/lowest.txt
	cp requirements/test.txt $(LOWEST)/test.txt # uv keeps its pins where it can
	$(PIN) --override $(LOWEST)/lowest.txt pyproject.toml --extra testing --group test \
		--output-file $(LOWEST)/test.txt
	$(BIN)/uv pip install --quiet --python $(LOWEST)/bin/python --no-deps --requirement $(LOWEST)/test.txt
	$(BIN)/uv pip install --quiet --python $(LOWEST)/bin/python --no-deps --no-build-isolation --editable .
	$(LOWEST)/bin/python -m pytest -q -n 2 -m 'not slow' --ignore tests/test_examples.py $(ARGS)

quick: $(VENV)/.test ## run the fast tests without coverage, ARGS='tests/test_retry.py -k jitter'
	$(BIN)/python -m pytest -q -m 'not slow' $(or $(ARGS),-n 2 --dist worksteal)

interop: $(VENV)/.interop ## run bots of other libraries against the stand-in server
	$(BIN)/python -m pytest -q tests/interop $(ARGS)

test-3.14: $(VENV)/.pyodide ## run the tests without sockets on Python 3.14, which npm provides
	node --stack-size=8000 scripts/test_pyodide.mjs $(VENV)/pyodide $(VENV)/pyodide/packages $(ARGS)

check: $(VENV)/.test ## compare generated/ and the stand-in server with the OpenAPI description
	$(BIN)/openapi-spec-validator openapi/zulip-auth.yaml
	$(BIN)/python scripts/check_generated.py
	$(BIN)/python scripts/check_stand_in.py

generate: $(VENV)/.generate ## generate the client in generated/ from openapi/
	$(BIN)/python scripts/generate.py

# The generator's main branch: GENERATORS=git+https://github.com/openapi-generators/openapi-python-client
GENERATORS ?= $(addprefix openapi-python-client==,0.28.4 0.29.0 0.29.1)
generators: $(VENV)/.test ## generate with other releases of the generator, and test each client
	for generator in $(GENERATORS); do \
		printf '\n%s\n' "$$generator"; \
		rm -rf $(VENV)/generated && mkdir $(VENV)/generated && \
		$(BIN)/uv run --quiet --no-project --isolated --python $(BIN)/python --with "$$generator" \
			--with "$$(grep ^ruff== requirements/generate.txt)" \
			python scripts/generate.py --output $(VENV)/generated && \
		PYTHONPATH=$(VENV)/generated $(BIN)/python -m pytest -q -m 'not slow' \
			tests/test_generated.py tests/test_recordings.py || exit; \
	done

# Pass UPSTREAM through the environment so that the shell does not expand it.
upstream-diff: $(VENV)/.generate ## compare with Zulip's own description, UPSTREAM=path/to/zulip.yaml
	$(BIN)/python scripts/upstream_diff.py "$$UPSTREAM"

lint: $(VENV)/.lint ## check style, types and prose (.pre-commit-config.yaml)
	@git rev-parse --git-dir >/dev/null || \
		{ echo 'make lint requires git, and a clone of the repository.' >&2; exit 1; }
	PATH="$(BIN):$$PATH" PRE_COMMIT_HOME=$(VENV)/.pre-commit pre-commit run --all-files

format: $(VENV)/.lint ## fix style where ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.lint ## check types with mypy and pyright
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	PATH="$(BIN):$$PATH" pyright --ignoreexternal --verifytypes zulip_auth

docs: $(VENV)/.docs ## build the documentation in site/, and check it
	$(BIN)/python scripts/pages.py --check
	rm -rf site
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -c docs . site
	rm -r site/.doctrees
	$(BIN)/python scripts/check_site.py
	@echo 'Open site/index.html in a browser.'

pages: $(VENV)/.docs ## write what docs/ shows of the code: reference, help texts, screenshots
	$(BIN)/python scripts/pages.py

servers: $(VENV)/.test ## write the tables of docs/servers.md from the tests
	cd tests && $(abspath $(BIN))/python -m helpers.server_cases

build: $(VENV)/.test ## build wheel and sdist, and log in from the installed wheel
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python scripts/check_wheel.py

check-wheel: $(BIN)/python ## log in from the wheel in dist/
	$(BIN)/python scripts/check_wheel.py

check-sdist: $(VENV)/.test ## run the fast tests from the sdist in dist/
	sdist=$$(mktemp -d) && tar -xzf dist/*.tar.gz -C "$$sdist" --strip-components 1 && cd "$$sdist" && \
		PYTHONPATH="$$sdist:$$sdist/generated" $(abspath $(BIN))/python -m pytest -q -n 2 \
			-m 'not slow' $(ARGS) && \
		rm -rf "$$sdist"

check-tag: ## fail unless TAG is the version of the package, and not a development version
	$(PYTHON) scripts/check_tag.py "$$TAG"

publish: $(VENV)/.uv ## upload dist/ to the registry, in the release workflow only
	$(BIN)/uv publish --trusted-publishing always

bench: $(VENV)/.bench ## compare the speed of login clients
	$(BIN)/python benchmarks/bench.py $(ARGS)

# The group dev includes the others. As a constraint it gives all files the same versions.
COMPILE := $(BIN)/uv pip compile --quiet --no-annotate --no-header
PIN := $(COMPILE) --python-version 3.11
pins: $(VENV)/.uv ## update requirements/ from the dependency groups in pyproject.toml
	$(PIN) --upgrade pyproject.toml --extra testing --group dev --output-file requirements/dev.txt
	for group in run test lint docs bench; do \
		$(PIN) --constraint requirements/dev.txt pyproject.toml --extra testing --group $$group \
			--output-file requirements/$$group.txt || exit; \
	done
	$(PIN) --universal --constraint requirements/dev.txt --group interop \
		--output-file requirements/interop.txt
	for group in generate uv; do \
		$(PIN) --constraint requirements/dev.txt --group $$group \
			--output-file requirements/$$group.txt || exit; \
	done
	$(COMPILE) --python-version 3.14 --python-platform $(WASM) --group pyodide \
		--output-file requirements/pyodide.txt

clean: ## remove everything that the other targets create
	rm -rf $(VENV) dist site .coverage .coverage.* .mypy_cache .ruff_cache .hypothesis .schemathesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z0-9.-]*:.*## / { printf "make %-20s %s\n", $$1, $$2 }' Makefile

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || \
		{ echo '$(PYTHON) not found. Install Python 3.11 or newer, or pass PYTHON=path.' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo '$(PYTHON) is older than Python 3.11. Pass a newer one: make PYTHON=python3.12 …' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo '$(PYTHON) has no venv module. On Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.uv: requirements/uv.txt $(BIN)/python
	$(BIN)/python -m pip --disable-pip-version-check --quiet install --requirement requirements/uv.txt
	@touch $@

$(VENV)/.run: requirements/run.txt pyproject.toml $(VENV)/.uv
	$(INSTALL) --requirement requirements/run.txt
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.run
	$(INSTALL) --requirement requirements/test.txt
	@touch $@

# Without npm, the test of zulip-js is skipped.
$(VENV)/.interop: requirements/interop.txt tests/interop/package.json $(VENV)/.test
	$(INSTALL) --requirement requirements/interop.txt
	mkdir -p $(VENV)/interop
	cp tests/interop/package.json $(VENV)/interop
	-npm install --silent --no-audit --no-fund --no-package-lock --prefix $(VENV)/interop
	@touch $@

$(VENV)/.lint: requirements/lint.txt $(VENV)/.test
	$(INSTALL) --requirement requirements/lint.txt
	@touch $@

$(VENV)/.docs: requirements/docs.txt $(VENV)/.run
	$(INSTALL) --requirement requirements/docs.txt
	@touch $@

$(VENV)/.bench: requirements/bench.txt $(VENV)/.run
	$(INSTALL) --requirement requirements/bench.txt
	@touch $@

WASM := wasm32-pyodide2025
$(VENV)/.pyodide: requirements/pyodide.txt $(VENV)/.uv
	@command -v node >/dev/null && command -v npm >/dev/null || \
		{ echo 'make test-3.14 requires node and npm. On Debian and Ubuntu: apt install nodejs npm' >&2; exit 1; }
	npm install --silent --no-audit --no-fund --no-package-lock --prefix $(VENV)/pyodide pyodide@314.0.7
	$(BIN)/uv pip install --quiet --target $(VENV)/pyodide/packages --python-version 3.14 \
		--python-platform $(WASM) --only-binary :all: --requirement requirements/pyodide.txt
	@touch $@

$(VENV)/.generate: requirements/generate.txt $(VENV)/.uv
	$(INSTALL) --requirement requirements/generate.txt
	@touch $@

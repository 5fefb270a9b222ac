# The one door to the project: `make` lists what is behind it.
#
# The stamps live inside the virtual environment, so that removing it removes them too. They follow the dependencies that
# pyproject.toml declares, not its date: a changed linter option installs nothing, and once installed all works offline.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

VENV   ?= .venv
BIN    := $(VENV)/bin
STAMPS := $(VENV)/.stamps
# Tried in order; a name that is a pyenv shim without a version behind it is passed over.
PYTHON ?= python3.13 python3.12 python3.11 python3
# Seconds that each fuzz target gets, and all of them together.
FUZZ_SECONDS ?= 15
FUZZ_TOTAL   ?= 225

# Nothing of the caller's Python set-up may leak into the environment's own.
unexport PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX VIRTUAL_ENV
export PIP_USER := 0
export PIP_NO_INPUT := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Two makes in one checkout take turns at installing.
LOCK    := $(shell command -v flock >/dev/null 2>&1 && echo flock .venv.lock)
INSTALL := $(LOCK) $(BIN)/python -m pip install --quiet

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ── what is installed ────────────────────────────────────────────────────────────────────────────────────────────────

.PHONY: venv
venv: $(STAMPS)/dev ## create the virtual environment with everything that development needs

# An interpreter that has gone, with an upgraded system for example, takes its stamps along.
$(shell test -x $(BIN)/python || rm -rf $(STAMPS))

$(STAMPS)/venv:
	@$(LOCK) .ci/venv $(VENV) $(PYTHON)

# Rewritten only when what it holds changes, which is when the stamps below it are made again.
$(STAMPS)/requires: pyproject.toml $(STAMPS)/venv
	@new=$@.$$$$; $(BIN)/python -c 'import json, tomllib; \
	  project = tomllib.load(open("pyproject.toml", "rb")); \
	  print(json.dumps([project["build-system"], project["project"]], sort_keys=True))' > $$new && \
	if cmp -s $$new $@; then rm $$new; else mv $$new $@; fi

$(STAMPS)/base: $(STAMPS)/requires
	@$(INSTALL) --editable .
	@touch $@

# With the broker that MQTT needs on the hub's side.
$(STAMPS)/demo: $(STAMPS)/base
	@$(INSTALL) --editable '.[hub]'
	@touch $@

$(STAMPS)/dev: $(STAMPS)/base
	@$(INSTALL) --editable '.[dev]'
	@touch $@

# Only for the site: the parts of pages that follow from the code are tested without it.
$(STAMPS)/docs: $(STAMPS)/base
	@$(INSTALL) --editable '.[docs]'
	@touch $@

$(STAMPS)/fuzz: $(STAMPS)/dev
	@$(INSTALL) --editable '.[fuzz]'
	@touch $@

# ── what is checked ──────────────────────────────────────────────────────────────────────────────────────────────────

.PHONY: lint
lint: $(STAMPS)/dev ## ruff, strict types, all of them known, import contracts, the shape of the product
	@failed=0; \
	$(BIN)/ruff check . || failed=1; \
	$(BIN)/ruff format --check --quiet . || failed=1; \
	$(BIN)/mypy || failed=1; \
	$(BIN)/lint-imports || failed=1; \
	.ci/verify-types $(BIN) || failed=1; \
	$(BIN)/python .ci/structure.py || failed=1; \
	exit $$failed

# Tests with real sockets, hubs and processes can lose a race against a busy machine: what failed is asked once more, alone.
# Status 1 says that tests failed; any other one, as after Ctrl-C, asks nothing again.
AGAIN   := [ $$? = 1 ] && echo '── what failed, once more' &&
FAILED  := --last-failed --last-failed-no-failures none
TEST    := $(BIN)/python -m pytest --cov --cov-report=term --cov-fail-under=100
INTEROP := $(BIN)/python -m pytest -c pyproject.toml -o addopts='-q --strict-markers' -o faulthandler_timeout=900 tests/interop

# The data of coverage is this run's own: another run in the same checkout must not count here.
.PHONY: test
test: $(STAMPS)/dev ## everything that needs no external service, on all cores; the protocol at 100 % branch coverage
	@scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && export COVERAGE_FILE=$$scratch/coverage && \
	{ $(TEST) --numprocesses=logical --dist=worksteal </dev/null || { $(AGAIN) $(TEST) --cov-append $(FAILED) </dev/null; }; }

.PHONY: interop
interop: $(STAMPS)/dev ## real hubs, a real broker and clients that others wrote, all on loopback
	@$(INTEROP) </dev/null || { $(AGAIN) $(INTEROP) $(FAILED) </dev/null; }

.PHONY: fuzz
fuzz: $(STAMPS)/fuzz ## every fuzz target for FUZZ_SECONDS, all of them within FUZZ_TOTAL
	@$(BIN)/python fuzz/run.py --seconds $(FUZZ_SECONDS) --total $(FUZZ_TOTAL) </dev/null

.PHONY: docs
docs: $(STAMPS)/docs ## write the page of states, and build the site: every link and name must lead somewhere
	@$(BIN)/python docs/diagram.py
	@scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --site-dir "$$scratch"

.PHONY: proof
proof: $(STAMPS)/fuzz ## the long tiers, hours of them; resumed where they were stopped; ARGS=--list says how far it is
	@$(BIN)/python -m tests.proof.run $(ARGS) </dev/null

# ── what is shown ────────────────────────────────────────────────────────────────────────────────────────────────────

.PHONY: bench
bench: $(STAMPS)/dev ## every figure of speed and memory, beside those of others
	@$(BIN)/python benchmarks/run.py </dev/null

.PHONY: demo
demo: $(STAMPS)/demo ## install, start a hub on this machine and talk to it
	@$(BIN)/python examples/demo.py </dev/null

.PHONY: clean
clean: ## remove the virtual environment, caches and build output
	rm -rf $(VENV) .venv.lock build dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find thalovant thalovant_io thalovant_proto tests fuzz benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

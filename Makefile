# `make` alone prints what there is. Written for GNU make 3.81 (macOS) and newer.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Settings: `make test VENV=.venv-3.12 PYTHON=python3.12 ARGS="-k spool"`
VENV ?= .venv
VENV_BENCH ?= .venv-bench
PYTHON ?=
ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTHONS := $(or $(PYTHON),python3.13 python3.12 python3.11 python3)
GOAL := $(or $(firstword $(MAKECMDGOALS)),venv)

# A caller's PYTHONDONTWRITEBYTECODE would leave an environment that starts five times slower; the others would put
# things elsewhere than into $(VENV).
unexport PYTHONDONTWRITEBYTECODE PYTHONHOME PYTHONPATH PIP_TARGET PIP_PREFIX PIP_USER
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# In CI a test that is skipped proves nothing, so it fails.
ifeq ($(CI),true)
NO_SKIPS := -p tests.plugins.no_skips
endif

# Another interpreter asked for than the environment was made with: make it again.
ifneq ($(PYTHON),)
IDENTITY := -c 'import sys; print(sys.version, sys.base_prefix)'
ifneq ($(shell { $(PYTHON) $(IDENTITY); } 2>/dev/null),$(shell { $(BIN)/python $(IDENTITY); } 2>/dev/null))
.PHONY: $(STAMP)
endif
endif

.PHONY: help
help:  ## this list
	@echo 'make demo and make test do everything that they need. VENV, PYTHON and ARGS="…" can be given.'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

# --- to use it -------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: venv  ## record two accounts of a local sandbox through an outage, and look at the result; needs no key
	@$(BIN)/bingx-etl demo $(ARGS)

.PHONY: picture
picture: venv  ## the README's picture of a report anew: the demo's page, in Debian's chromium
	@rm -rf build/picture && $(BIN)/bingx-etl demo --dir build/picture && \
	    $(BIN)/python -m tests.picture build/picture/report.html docs/report.png

.PHONY: venv
venv: $(STAMP)  ## the virtual environment, from the lock file; does nothing when it is up to date
	@$(BIN)/python -m compileall -q etl migrations

# Made anew rather than upgraded, so that nothing stays that is not in the lock file. The progress of pip is one line
# on a terminal and nothing elsewhere; when it fails, everything that it said is shown.
$(STAMP): requirements/dev.txt pyproject.toml
	@if [ -e "$(VENV)" ] && [ ! -e "$(VENV)/pyvenv.cfg" ]; then \
	    echo "$(VENV) is there and is no virtual environment: move it away, or name another by VENV=" >&2; exit 1; fi
	@python=; old=; bare=; \
	for name in $(PYTHONS); do \
	    "$$name" -c '' 2>/dev/null || continue; \
	    "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { old=$$name; continue; }; \
	    "$$name" -c 'import ensurepip, venv' 2>/dev/null || { bare=$$name; continue; }; \
	    python=$$name; break; \
	done; \
	if [ -z "$$python" ]; then \
	    if [ -n "$$bare" ]; then echo "$$bare comes without venv: install it (Debian, Ubuntu: apt-get install python3-venv)"; \
	    elif [ -n "$$old" ]; then echo "Python 3.11 or newer is needed and $$old is older: make $(GOAL) PYTHON=/path/to/python3"; \
	    else echo "No Python was found as $(PYTHONS): install 3.11 or newer, or make $(GOAL) PYTHON=/path/to/python3"; \
	    fi >&2; exit 1; \
	fi; \
	echo "Creating $(VENV) with $$("$$python" --version)" >&2; \
	"$$python" -m venv --clear "$(VENV)"
	@if [ -t 2 ]; then show() { while IFS= read -r line; do printf '\r\033[K%.78s' "$$line" >&2; done; printf '\r\033[K' >&2; }; \
	else show() { cat >/dev/null; }; fi; \
	{ $(BIN)/python -m pip install --progress-bar off --require-hashes -r requirements/dev.txt && \
	  $(BIN)/python -m pip install --no-deps --no-build-isolation --editable . && \
	  touch "$(VENV)/complete"; } 2>&1 | tee "$(VENV)/install.log" | show; \
	[ -e "$(VENV)/complete" ] || { cat "$(VENV)/install.log" >&2; exit 1; }
	@$(BIN)/python -m compileall -qq "$(VENV)/lib" || true # libraries also carry files that are not meant for this version
	@touch "$@"

# --- to change it ----------------------------------------------------------------------------------------------------

.PHONY: check
check: format-check lint types lock-check drift test  ## everything that CI checks

.PHONY: test
test: venv  ## the tests, on all cores; ARGS="-k spool" for some of them, ARGS="-n0 -x" one by one
	@$(BIN)/python -m pytest -n auto --dist worksteal $(NO_SKIPS) $(ARGS)

# How long each open-ended test of the long form goes on.
SECONDS ?= 300

.PHONY: torture
torture: venv  ## the long form of tests/trust: sweeps, models and faults; SECONDS=3600 for each of them
	@mkdir -p build && : > build/torture
	@BINGX_TEST_LONG_SECONDS=$(SECONDS) BINGX_TEST_TALLY="$(CURDIR)/build/torture" \
	    $(BIN)/python -m pytest -n auto --dist worksteal -o timeout=$$(($(SECONDS) + 600)) $(NO_SKIPS) tests/trust $(ARGS)
	@$(BIN)/python -m tests.trust build/torture

.PHONY: mutants
mutants: venv  ## is a test red for each safeguard that is taken away? ARGS="--json", ARGS=fsync for some of them
	@$(BIN)/python -m tests.mutants $(ARGS)

.PHONY: format
format: venv  ## put the code into its one layout, and mend what can be mended by itself
	@$(BIN)/python -m ruff format .
	@$(BIN)/python -m ruff check --fix .

.PHONY: format-check
format-check: venv
	@$(BIN)/python -m ruff format --check .

.PHONY: lint
lint: venv  ## style and likely bugs
	@$(BIN)/python -m ruff check .

.PHONY: types
types: venv  ## types, strictly
	@$(BIN)/python -m mypy

.PHONY: drift
drift: venv  ## do the migrations make the schema that the code declares?
	@directory=$$(mktemp -d) && trap 'rm -rf "$$directory"' EXIT && \
	BINGX_ETL_DATABASE_URL="sqlite:///$$directory/drift.db" && export BINGX_ETL_DATABASE_URL && \
	$(BIN)/python -m alembic upgrade head && $(BIN)/python -m alembic check

.PHONY: bench
bench: venv $(VENV_BENCH)/.installed  ## what recording costs, against scripts that do without; ARGS="snapshot slots --json" for some rows
	@$(BIN)/python -m benchmarks --rivals "$(VENV_BENCH)/bin/python" $(ARGS)

# What is compared with has an environment of its own, by the same interpreter, and is compiled like ours.
$(VENV_BENCH)/.installed: requirements/bench.txt | $(STAMP)
	@$(BIN)/python -m venv --clear "$(VENV_BENCH)"
	@$(VENV_BENCH)/bin/python -m pip install --quiet --progress-bar off --require-hashes -r requirements/bench.txt
	@$(VENV_BENCH)/bin/python -m compileall -qq "$(VENV_BENCH)/lib" || true
	@touch "$@"

.PHONY: lock
lock:  ## write the lock files again after pyproject.toml changed; ARGS=--upgrade takes the newest versions
	@[ -x "$(BIN)/python" ] || $(MAKE) venv
	@[ -x build/lock/bin/uv ] || { $(BIN)/python -m venv build/lock && \
	    build/lock/bin/python -m pip install --quiet --require-hashes -r requirements/lock.txt; }
	$(COMPILE) pyproject.toml -o requirements/runtime.txt
	$(COMPILE) pyproject.toml --group dev --constraint requirements/runtime.txt -o requirements/dev.txt
	$(COMPILE) --group build --constraint requirements/dev.txt -o requirements/build.txt
	$(COMPILE) --group lock -o requirements/lock.txt
	$(COMPILE) --group bench --constraint requirements/runtime.txt -o requirements/bench.txt

# Names, versions and hashes, good for every Python and platform that is promised; nothing of this machine.
COMPILE = build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-header --no-annotate --no-emit-index-url $(ARGS)

.PHONY: lock-check
lock-check: venv
	@$(BIN)/python -m pip install --quiet --dry-run --no-index --no-deps --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip check

.PHONY: wheel
wheel: venv  ## build the wheel and the source archive into dist/
	@$(BIN)/python -m hatchling build

.PHONY: clean
clean:  ## remove everything that make made, the virtual environment included
	rm -rf build dist .demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find etl migrations tests -name __pycache__ -type d -prune -exec rm -rf {} +
	@for venv in "$(VENV)" "$(VENV_BENCH)"; do if [ -e "$$venv/pyvenv.cfg" ]; then rm -rf "$$venv"; fi; done

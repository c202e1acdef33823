# Everything a developer runs. Each target sets up what it needs (tools/setup.sh) first.
#
#   PYTHON=/path/to/python3   the interpreter to use, 3.11 or newer
#   ARGS="..."                more arguments for iatp demo, pytest or the load test

.DEFAULT_GOAL := help
.PHONY: help run test check check-ruff check-format check-types check-stubs check-cython \
        bench peers costs detection load load-full proof debug package lock clean setup-run setup-dev

BIN := .venv/bin
ARGS ?=

help:
	@echo "make run        set up, then show the sidecar at work before a real agent"
	@echo "make test       set up, then run the tests"
	@echo "make check      lint, format, types, stubs"
	@echo "make bench      benchmarks; fails on a regression (ARGS=--renew: a new baseline)"
	@echo "make peers      the sidecar beside nginx, HAProxy, Envoy, aiohttp (ARGS=--help; 12 minutes)"
	@echo "make costs      the flight recorder's parts side by side (ARGS=--help; 2 minutes)"
	@echo "make detection  what the scan finds, beside Presidio and detect-secrets (ARGS=--help)"
	@echo "make load       a load test of about a minute (locust, wrk); fails where anything is wrong"
	@echo "make load-full  soak and 10,000 users too: nine minutes (ARGS='--only soak')"
	@echo "make proof      the tests that take minutes"
	@echo "make debug      tests of iatp/_fast with bounds checks and the address sanitizer (minutes)"
	@echo "make package    build the package, install it elsewhere and run its demo"
	@echo "make lock       write the lock files anew (needs uv)"
	@echo "make clean      remove everything that was made here"

setup-run:
	@PYTHON="$(PYTHON)" sh tools/setup.sh run

setup-dev:
	@PYTHON="$(PYTHON)" sh tools/setup.sh dev

run: setup-run
	@$(BIN)/iatp demo $(ARGS)

# Tests that need nginx, strace, zstd or openssl run where IATP_TEST_SERVERS=1 says so, as in .ci/run.
test: setup-dev
	@sh tools/test.sh $(BIN)/python $(ARGS)

# With every test on, whatever it needs and however long it takes.
proof: setup-dev
	@IATP_TEST_SERVERS=1 IATP_TEST_PROOF=1 $(BIN)/python -m pytest -m proof -s $(ARGS)

check: check-ruff check-format check-types check-stubs check-cython

check-ruff: setup-dev
	@$(BIN)/ruff check --quiet .

check-format: setup-dev
	@$(BIN)/ruff format --quiet --check .

check-types: setup-dev
	@$(BIN)/mypy --no-error-summary

check-stubs: setup-dev
	@$(BIN)/python -m mypy.stubtest --concise --mypy-config-file pyproject.toml iatp._fast

check-cython: setup-dev
	@PATH="$(BIN):$$PATH" $(BIN)/cython-lint iatp/_fast

bench: setup-dev
	@$(BIN)/python -m pytest benchmarks $(ARGS)

# Needs Debian's nginx-light, haproxy and wrk, and two cores.
peers: setup-dev
	@$(BIN)/python -m benchmarks.peers $(ARGS)

costs: setup-dev
	@$(BIN)/python -m benchmarks.costs $(ARGS)

# Installs the peers below build/ at its first run.
detection: setup-dev
	@$(BIN)/python -m benchmarks.detection $(ARGS)

load: setup-dev
	@$(BIN)/python -m loadtest $(ARGS)

load-full: setup-dev
	@$(BIN)/python -m loadtest --full $(ARGS)

debug: setup-dev
	@sh tools/debug.sh $(ARGS)

package: setup-dev
	@sh tools/package.sh $(ARGS)

lock:
	@sh tools/lock.sh $(ARGS)

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	    .benchmarks iatp-logs iatp-logs.key iatp-logs.signing.key iatp-logs.signing.key.pub
	rm -f iatp/_fast/*.c iatp/_fast/*.html iatp/_fast/*.so
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

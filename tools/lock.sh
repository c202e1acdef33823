#!/bin/sh
# Writes the locks anew from the ranges in pyproject.toml (make lock). Needs uv.
#
# requirements.lock holds what the sidecar and its build need; requirements-dev.lock holds
# that, in the same versions, and what tests, checks, benchmarks and load tests need. Both
# fit every Python from 3.11 on, and name hashes but no host.
set -eu
cd "$(dirname "$0")/.."

lock() {
    output=$1
    shift
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
        --group build "$@" pyproject.toml --output-file "$output"
}

lock requirements.lock "$@"
lock requirements-dev.lock --all-extras --constraint requirements.lock "$@"

# For make detection alone: nothing of it is in the other two.
uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" "$@" \
    benchmarks/detection/requirements.in --output-file benchmarks/detection/requirements.lock

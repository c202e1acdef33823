#!/bin/sh
# Builds the package, installs it into a fresh environment and runs its demo from elsewhere.
# Both the build and the environment use the versions in requirements.lock.
set -eu
cd "$(dirname "$0")/.."

root=$(pwd)
made=$root/build/package
rm -rf "$made" build/lib* build/bdist*
mkdir -p "$made"

echo "package: building a wheel (about a minute)"
.venv/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation \
    --wheel-dir "$made/dist" .
echo "package: installing $(basename "$made"/dist/*.whl)"
.venv/bin/python -m venv "$made/venv"
"$made/venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
    -r requirements.lock
"$made/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    "$made"/dist/*.whl

cd /
"$made/venv/bin/iatp" version
"$made/venv/bin/iatp" demo "$@"

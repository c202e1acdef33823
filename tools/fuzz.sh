#!/bin/sh
# Mutated messages for the compiled readers under the address sanitizer.
#
#   tools/fuzz.sh [SECONDS [SEED]]   10 seconds and a seed of its own, which it prints
set -eu
cd "$(dirname "$0")/.."
export IATP_BUILD_ONLY="${IATP_BUILD_ONLY-answer,content,http,layers,mac,patterns,record,said,scan,secrets,text}"
exec sh tools/debug.sh --run tests.fuzz "$@"

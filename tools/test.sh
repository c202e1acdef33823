#!/bin/sh
# Every test. Where there are two processors in two halves side by side: those of running sidecars
# mostly wait, the others compute. What the second half printed is shown once the first is done.
#
#   tools/test.sh PYTHON [ARGUMENTS OF PYTEST]   with arguments: those, in one run
set -u
python=$1
shift
cd "$(dirname "$0")/.."
if [ $# -gt 0 ] || [ "$(getconf _NPROCESSORS_ONLN)" -lt 2 ]; then
    exec "$python" -m pytest "$@"
fi
said=$(mktemp)
"$python" -m pytest tests/e2e >"$said" 2>&1 &
beside=$!
trap 'rm -f "$said"' EXIT
trap 'kill "$beside" 2>/dev/null; exit 130' INT TERM
"$python" -m pytest tests --ignore tests/e2e
first=$?
echo "tests: the others are done; those of running sidecars follow"
wait "$beside"
second=$?
cat "$said"
[ "$first" = 0 ] && [ "$second" = 0 ]

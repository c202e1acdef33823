#!/bin/sh
# Compiles iatp/_fast with bounds checks and the address sanitizer, and runs its tests.
#
#   tools/debug.sh [ARGUMENT…]               tests of iatp/_fast; arguments are for pytest
#   tools/debug.sh --run MODULE [ARGUMENT…]  python -m MODULE instead (tools/fuzz.sh)
#
# All of it happens in a copy under build: the modules in the tree stay as they are.
set -eu
cd "$(dirname "$0")/.."

python=$(pwd)/.venv/bin/python
made=build/debug
[ "${1:-}" = --run ] && made=build/fuzz
copy=$made/lib
rm -rf $copy
mkdir -p $copy
cp -R iatp tests pyproject.toml $copy/
rm -f $copy/iatp/_fast/*.so $copy/iatp/_fast/*.c

echo "debug: compiling with bounds checks and the address sanitizer (about a minute)"
IATP_BUILD_DEBUG=1 "$python" setup.py -q build_ext --parallel 2 \
    --build-temp $made/temp --build-lib $copy

# The sanitizer must be loaded before the interpreter, which was built without it. Its leak
# check is off: CPython frees little of what it holds at exit.
case $(uname -s) in
    Darwin) library=$(cc -print-file-name=libclang_rt.asan_osx_dynamic.dylib); preload=DYLD_INSERT_LIBRARIES ;;
    *) library=$(cc -print-file-name=libasan.so); preload=LD_PRELOAD ;;
esac
cd $copy
sanitized() {
    exec env "$preload=$library" ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc \
        PYTHONPATH="$(pwd)" "$python" -m "$@"
}
if [ "${1:-}" = --run ]; then
    shift
    sanitized "$@"
fi
# Limits of time do not hold here: tests of what something costs are left out, each test has
# ten minutes, and hypothesis has no deadline (its profile for continuous integration).
sanitized pytest --override-ini=testpaths=tests/_fast --timeout=600 \
    --hypothesis-profile=ci -k "not cost_little and not costs_" "$@"

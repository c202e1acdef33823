#!/bin/sh
# Compiles iatp/_fast with bounds checks and the address sanitizer, and runs its tests.
#
# All of it happens in a copy under build/debug: the modules in the tree stay as they are.
set -eu
cd "$(dirname "$0")/.."

python=$(pwd)/.venv/bin/python
copy=build/debug/lib
rm -rf $copy
mkdir -p $copy
cp -R iatp tests pyproject.toml $copy/
rm -f $copy/iatp/_fast/*.so $copy/iatp/_fast/*.c

echo "debug: compiling with bounds checks and the address sanitizer (about a minute)"
IATP_BUILD_DEBUG=1 "$python" setup.py -q build_ext --parallel 2 \
    --build-temp build/debug/temp --build-lib $copy

# The sanitizer must be loaded before the interpreter, which was built without it. Its leak
# check is off: CPython frees little of what it holds at exit.
case $(uname -s) in
    Darwin) library=$(cc -print-file-name=libclang_rt.asan_osx_dynamic.dylib); preload=DYLD_INSERT_LIBRARIES ;;
    *) library=$(cc -print-file-name=libasan.so); preload=LD_PRELOAD ;;
esac
cd $copy
# Limits of time do not hold here: tests of what something costs are left out, each test has
# ten minutes, and hypothesis has no deadline (its profile for continuous integration).
exec env "$preload=$library" ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc PYTHONPATH="$(pwd)" \
    "$python" -m pytest --override-ini=testpaths=tests/_fast --timeout=600 \
    --hypothesis-profile=ci -k "not cost_little and not costs_" "$@"

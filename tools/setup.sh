#!/bin/sh
# Makes .venv, installs what the lock names and compiles iatp/_fast, each only where needed.
#
#   tools/setup.sh run    what the sidecar needs
#   tools/setup.sh dev    also what tests, checks, benchmarks and load tests need
#
# PYTHON=/path/to/python3 chooses the interpreter (3.11 or newer). What is missing on the
# machine is named, with the line that installs it, before anything is made.
set -eu
cd "$(dirname "$0")/.."

group=${1:-run}
case $group in
    run) lock=requirements.lock ;;
    dev) lock=requirements-dev.lock ;;
    *) echo "usage: tools/setup.sh run|dev" >&2; exit 2 ;;
esac

venv=.venv
here=$(pwd -P)
log=$(mktemp "${TMPDIR:-/tmp}/iatp-setup.XXXXXX")
probe=$(mktemp -d "${TMPDIR:-/tmp}/iatp-probe.XXXXXX")
trap 'rm -rf "$log" "$probe"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf 'setup: %s\n' "$*"; }

complain() { printf 'setup: %s\n' "$*" >&2; }

# Runs a step quietly; its output is shown only if it fails.
quietly() {
    if ! "$@" >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        complain "failed: $*"
        exit 1
    fi
}

fits() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11) or sys.implementation.name != "cpython")' \
        >/dev/null 2>&1
}

# --- which Python ---------------------------------------------------------------------

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        fits "$PYTHON" && command -v "$PYTHON"
        return
    fi
    for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if command -v "$name" >/dev/null 2>&1 && fits "$name"; then
            command -v "$name"
            return
        fi
    done
    return 1
}

as_root() { if [ "$(id -u)" = 0 ]; then echo ""; else echo "sudo "; fi; }

# Prints the line that installs the named things: python, headers, venv, compiler.
install_line() {
    version=$1
    shift
    if [ "$(uname -s)" = Darwin ]; then
        for thing in "$@"; do
            case $thing in
                compiler) echo "    xcode-select --install" ;;
                *) echo "    brew install python@${version:-3.13}" ;;
            esac
        done | sort -u
        return
    fi
    packages=
    if command -v apt-get >/dev/null 2>&1; then
        if [ -z "$version" ]; then
            for candidate in 3.13 3.12 3.11; do
                if apt-cache show "python$candidate" >/dev/null 2>&1; then
                    version=$candidate
                    break
                fi
            done
        fi
        for thing in "$@"; do
            case $thing in
                python) packages="$packages python${version:-3}" ;;
                headers) packages="$packages python${version:-3}-dev" ;;
                venv) packages="$packages python${version:-3}-venv" ;;
                compiler) packages="$packages build-essential" ;;
            esac
        done
        echo "    $(as_root)apt install$packages"
    elif command -v dnf >/dev/null 2>&1; then
        for thing in "$@"; do
            case $thing in
                python | venv) packages="$packages python${version:-3}" ;;
                headers) packages="$packages python${version:-3}-devel" ;;
                compiler) packages="$packages gcc" ;;
            esac
        done
        echo "    $(as_root)dnf install$packages"
    elif command -v apk >/dev/null 2>&1; then
        for thing in "$@"; do
            case $thing in
                python | venv) packages="$packages python3" ;;
                headers) packages="$packages python3-dev" ;;
                compiler) packages="$packages gcc musl-dev linux-headers" ;;
            esac
        done
        echo "    $(as_root)apk add$packages"
    else
        echo "    install with your system's package manager: $*"
    fi
}

# The compiler that setuptools will call: $CC, or the one Python was built with, or another.
find_compiler() {
    built_with=$("$python" -c 'import sysconfig; print((sysconfig.get_config_var("CC") or "cc").split()[0])')
    for name in ${CC:+"$CC"} "$built_with" cc gcc clang; do
        # shellcheck disable=SC2086  # CC may carry arguments
        if command -v ${name%% *} >/dev/null 2>&1; then
            echo "$name"
            return
        fi
    done
    return 1
}

compiles() {
    printf '#include <stdio.h>\nint main(void) { return 0; }\n' >"$probe/probe.c"
    # shellcheck disable=SC2086
    $1 -o "$probe/probe" "$probe/probe.c" >/dev/null 2>&1
}

# Everything that is missing is named in one go, before anything is installed or compiled.
check_machine() {
    missing=
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if ! "$python" -c 'import os, sysconfig, sys
sys.exit(not os.path.isfile(os.path.join(sysconfig.get_path("include"), "Python.h")))'; then
        complain "the headers of Python $version (Python.h) are missing"
        missing="$missing headers"
    fi
    if compiler=$(find_compiler) && compiles "$compiler"; then
        export CC="$compiler"
    else
        complain "no working C compiler was found"
        missing="$missing compiler"
    fi
    if "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        maker=venv
    elif "$python" -m virtualenv --version >/dev/null 2>&1; then
        maker=virtualenv-module
    elif command -v virtualenv >/dev/null 2>&1; then
        maker=virtualenv
    elif command -v uv >/dev/null 2>&1; then
        maker=uv
    else
        complain "Python $version comes without venv and ensurepip, and neither virtualenv nor uv is here"
        missing="$missing venv"
    fi
    if [ -n "$missing" ]; then
        complain "install what is missing and run this again:"
        # shellcheck disable=SC2086
        install_line "$version" $missing >&2
        exit 1
    fi
}

if ! python=$(find_python); then
    if [ -n "${PYTHON:-}" ]; then
        complain "PYTHON=$PYTHON is not CPython 3.11 or newer"
        exit 1
    fi
    complain "no Python 3.11 or newer was found (PYTHON=/path/to/python3 names one)"
    complain "install one and run this again:"
    install_line "" python headers venv compiler >&2
    exit 1
fi

# --- the environment ------------------------------------------------------------------

# A venv does not survive a move of the folder or another Python: both are in its stamp.
identity="$here $("$python" -c 'import sys; print(sys.base_prefix, sys.version)' | tr '\n' ' ')"
if [ ! -x $venv/bin/python ] || [ "$(cat $venv/.identity 2>/dev/null)" != "$identity" ]; then
    check_machine
    say "Python $("$python" -c 'import platform; print(platform.python_version())') at $python"
    rm -rf $venv
    case $maker in
        venv) quietly "$python" -m venv $venv ;;
        virtualenv-module) quietly "$python" -m virtualenv -p "$python" $venv ;;
        virtualenv) quietly virtualenv -p "$python" $venv ;;
        uv) quietly uv venv --quiet --python "$python" $venv ;;
    esac
    printf '%s\n' "$identity" >$venv/.identity
fi

install() {
    if $venv/bin/python -m pip --version >/dev/null 2>&1; then
        $venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"
    else
        uv pip install --quiet --python $venv/bin/python "$@"
    fi
}

stamp_is() { [ "$(cat "$venv/.$1" 2>/dev/null)" = "$2" ]; }

wanted=$(cksum <$lock)
# The lock of dev holds all that the one of run does.
if ! stamp_is "$group" "$wanted" && ! { [ "$group" = run ] && stamp_is run-by-dev "$wanted"; }; then
    say "installing $(grep -c '^[a-z].*==' $lock) packages from $lock"
    quietly install --require-hashes -r $lock
    printf '%s\n' "$wanted" >"$venv/.$group"
    if [ "$group" = dev ]; then
        cksum <requirements.lock >$venv/.run-by-dev
    fi
fi

# --- the compiled modules -------------------------------------------------------------

suffix=$($venv/bin/python -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
sources=$(cat setup.py iatp/_fast/*.pyx iatp/_fast/*.pxd iatp/_fast/*.h 2>/dev/null | cksum)
wanted="$suffix $sources"
missing=
count=0
for source in iatp/_fast/*.pyx; do
    count=$((count + 1))
    [ -f "${source%.pyx}$suffix" ] || missing=yes
done
if [ -n "$missing" ] || ! stamp_is built "$wanted"; then
    [ -n "${CC:-}" ] || check_machine
    say "compiling $count modules of iatp/_fast (about a minute)"
    quietly $venv/bin/python setup.py -q build_ext --inplace --parallel 2
    printf '%s\n' "$wanted" >$venv/.built
fi

# --- the commands ---------------------------------------------------------------------

wanted=$(cksum <pyproject.toml)
if [ ! -x $venv/bin/iatp ] || ! stamp_is project "$wanted"; then
    IATP_BUILD_ONLY=none quietly install --no-deps --no-build-isolation --editable .
    printf '%s\n' "$wanted" >$venv/.project
fi

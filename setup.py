"""Builds the compiled hot path; everything else stands in pyproject.toml.

IATP_BUILD_ONLY=scan,gate   build just these modules of iatp/_fast; `none` builds none
IATP_BUILD_DEBUG=1          bounds checks and the address sanitizer (make debug)
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

FAST = Path("iatp/_fast")
only = {name for name in os.environ.get("IATP_BUILD_ONLY", "").split(",") if name}
debug = os.environ.get("IATP_BUILD_DEBUG") == "1"

names = sorted(path.stem for path in FAST.glob("*.pyx"))
if unknown := only - {*names, "none"}:
    raise SystemExit(f"IATP_BUILD_ONLY names {sorted(unknown)}; known are {names}")

compile_args = ["-O2", "-Wall", "-Wno-unused-function", "-Wno-unreachable-code"]
link_args = []
if debug:
    compile_args = ["-O1", "-g", "-fsanitize=address", "-fno-omit-frame-pointer"]
    link_args = ["-fsanitize=address"]

extensions = [
    Extension(
        f"iatp._fast.{name}",
        [str(FAST / f"{name}.pyx")],
        include_dirs=[str(FAST)],
        depends=[str(path) for path in FAST.glob("*.h")],
        extra_compile_args=compile_args,
        extra_link_args=link_args,
    )
    for name in names
    if not only or name in only
]

setup(
    ext_modules=cythonize(
        extensions,
        language_level=3,
        compiler_directives={
            "binding": False,
            "boundscheck": debug,
            "wraparound": False,
            "initializedcheck": debug,
            "cdivision": not debug,
            "embedsignature": True,
            "autotestdict": False,
        },
        # The directives above are not part of what cythonize compares.
        build_dir="build/debug/c" if debug else None,
        annotate=False,
    ),
)

"""Imports point down only, and what must be compiled is compiled."""

from __future__ import annotations

import ast
import importlib
import re
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "iatp"

LAYERS = ("values", "decisions", "_fast", "adapters", "server", "sidecar", "cli")
"""From the lowest to the highest; a module may import from its own layer and those before."""

FACADE = "sidecar"
"""The layer of iatp/__init__.py: what users import may come from there and below."""

_CYTHON_IMPORT = re.compile(
    r"^\s*(?:from\s+(?P<source>[\w.]+)\s+c?import\s+(?P<names>.+)|c?import\s+(?P<plain>[\w., ]+))",
    re.MULTILINE,
)


def layer_of(module: str) -> str | None:
    """The layer of a dotted name; None for what is not ours."""
    parts = module.split(".")
    if parts[0] != "iatp":
        return None
    if len(parts) > 1 and parts[1] in LAYERS:
        return parts[1]
    return "cli" if parts[1:] == ["__main__"] else FACADE


def python_imports(source: str, module: str) -> list[str]:
    """Everything that a Python module imports, wherever the statement stands."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")[: -node.level]
                base = ".".join([*above, base]).rstrip(".")
            found += [f"{base}.{alias.name}" if base == "iatp" else base for alias in node.names]
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module"
        ):
            text = node.args[0]
            if isinstance(text, ast.JoinedStr):
                text = text.values[0]
            assert isinstance(text, ast.Constant), f"{module} imports a name that nobody can read"
            found.append(str(text.value).rstrip("."))
    return found


def cython_imports(source: str) -> list[str]:
    """Everything that a Cython module imports or cimports."""
    found: list[str] = []
    for match in _CYTHON_IMPORT.finditer(re.sub(r"(?s)\"\"\".*?\"\"\"", "", source)):
        if match["source"]:
            base = match["source"]
            # A leading dot is the package of the file, which is always iatp._fast.
            found.append(f"iatp._fast{base}" if base.startswith(".") else base)
            if base == "iatp":
                found += [f"iatp.{name.strip()}" for name in match["names"].split(",")]
        else:
            found += [name.split(" as ")[0].strip() for name in match["plain"].split(",")]
    return found


def modules() -> list[Path]:
    return sorted(
        path for path in PACKAGE.rglob("*") if path.suffix in {".py", ".pyi", ".pyx", ".pxd"}
    )


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    module = name_of(path)
    own = layer_of(module)
    assert own is not None
    source = path.read_text()
    if path.suffix in {".py", ".pyi"}:
        imported = python_imports(source, module if path.stem != "__init__" else f"{module}.x")
    else:
        imported = cython_imports(source)
    upward = [
        name
        for name in imported
        if (layer := layer_of(name)) is not None and LAYERS.index(layer) > LAYERS.index(own)
    ]
    assert upward == []


def test_every_folder_is_a_layer() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders == set(LAYERS)


def test_the_rule_catches_what_it_is_for() -> None:
    source = "def f():\n    from iatp.server.app import build_app\n    import iatp.cli.main\n"
    assert python_imports(source, "iatp.values.x") == ["iatp.server.app", "iatp.cli.main"]
    assert python_imports("from ..cli import main", "iatp.values.x") == ["iatp.cli"]
    assert python_imports("from iatp import cli, values", "iatp.values.x") == [
        "iatp.cli",
        "iatp.values",
    ]
    assert python_imports("import_module(f'iatp.cli.{name}')", "iatp.values.x") == ["iatp.cli"]
    source = (
        "from iatp._fast.scan cimport Spans, scan\ncimport iatp.server.x\nimport os, iatp.cli\n"
    )
    assert cython_imports(source) == ["iatp._fast.scan", "iatp.server.x", "os", "iatp.cli"]
    assert [layer_of(name) for name in ("os", "iatp.cli.main", "iatp.__main__", "iatp")] == [
        None,
        "cli",
        "cli",
        "sidecar",
    ]


@pytest.mark.parametrize("path", sorted((PACKAGE / "_fast").glob("*.pyx")), ids=lambda p: p.stem)
def test_compiled(path: Path) -> None:
    module = importlib.import_module(name_of(path))
    assert module.__file__ is not None
    assert module.__file__.endswith(tuple(EXTENSION_SUFFIXES))
    assert path.with_suffix(".pyi").exists(), "a compiled module needs its stub"


def test_nothing_in_fast_is_plain_python() -> None:
    plain = {path.name for path in (PACKAGE / "_fast").glob("*.py")}
    assert plain == {"__init__.py"}

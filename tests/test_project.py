"""What the repository promises: its commands exist, its links resolve, its locks are whole."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from iatp.cli.main import COMMANDS

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements.lock", "requirements-dev.lock")

GIVEN = {
    *("uvloop", "aiohttp", "cython", "msgspec", "prometheus-client"),
    *("pytest", "pytest-benchmark", "locust"),
}
"""Dependencies that need no reason of their own in docs/dependencies.md."""


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    return [name for name in listed.split("\0") if name and (ROOT / name).exists()]


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def pages() -> list[str]:
    return [name for name in tracked() if name.endswith(".md")]


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):", text_of("Makefile"), re.MULTILINE))


def canonical(requirement: str) -> str:
    name = re.match(r"[\w.-]+", requirement)
    assert name is not None
    return re.sub(r"[-_.]+", "-", name.group()).lower()


def direct() -> dict[str, set[str]]:
    """The names of pyproject.toml's requirements, by where they stand."""
    project = tomllib.loads(text_of("pyproject.toml"))
    groups = {
        "build": project["dependency-groups"]["build"],
        "run": project["project"]["dependencies"],
        **project["project"]["optional-dependencies"],
    }
    return {group: {canonical(text) for text in texts} for group, texts in groups.items()}


def locked(lock: str) -> dict[str, str]:
    return {
        canonical(name): version
        for name, version in re.findall(
            r"^([A-Za-z0-9][\w.-]*)==(\S+)", text_of(lock), re.MULTILINE
        )
    }


def test_nothing_generated_is_tracked() -> None:
    generated = [
        name
        for name in tracked()
        if re.search(r"\.(so|pyc|pyd|o|html)$", name) or re.match(r"iatp/.*\.(c|cpp)$", name)
    ]
    assert generated == []


def test_what_is_run_is_executable() -> None:
    for name in (
        ".ci/run",
        *sorted(f"tools/{path.name}" for path in (ROOT / "tools").glob("*.sh")),
    ):
        assert os.access(ROOT / name, os.X_OK), name


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_one_version_and_hashes_and_no_host(lock: str) -> None:
    text = text_of(lock)
    assert "://" not in text
    assert not re.search(r"^\s*(-i|-f|--(extra-)?index-url|--find-links)\b", text, re.MULTILINE)
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(locked(lock)) > 10
    for block in blocks:
        assert "--hash=sha256:" in block, block.splitlines()[0]


def test_the_locks_agree_and_hold_every_requirement() -> None:
    run, dev = locked(LOCKS[0]), locked(LOCKS[1])
    assert run.items() <= dev.items()
    groups = direct()
    assert groups["build"] | groups["run"] <= run.keys()
    assert set().union(*groups.values()) <= dev.keys()


def test_the_in_place_build_needs_what_the_package_build_needs() -> None:
    project = tomllib.loads(text_of("pyproject.toml"))
    assert sorted(project["dependency-groups"]["build"]) == sorted(
        project["build-system"]["requires"]
    )


def test_every_dependency_carries_its_reason() -> None:
    reasons = text_of("docs/dependencies.md").split("## Added, each with its reason")[1]
    explained = {
        canonical(name)
        for name, reason in re.findall(
            r"^\| ([\w-]+) \| (?:the )?\w+ \| (.{20,}) \|$", reasons, re.MULTILINE
        )
    }
    assert explained == set().union(*direct().values()) - GIVEN


def test_pre_commit_runs_what_make_check_runs() -> None:
    hooks = re.findall(r"^ +entry: make (\S+)$", text_of(".pre-commit-config.yaml"), re.MULTILINE)
    checks = re.search(r"^check: (.+)$", text_of("Makefile"), re.MULTILINE)
    assert checks is not None
    assert sorted(hooks) == sorted(checks.group(1).split())


def test_make_help_names_every_target() -> None:
    said = set(re.findall(r'@echo "make ([\w-]+) ', text_of("Makefile")))
    parts = {name for name in targets() if re.match(r"(check|setup)-", name)}
    assert said == targets() - parts - {"help"}


def test_ci_runs_tests_checks_and_benchmarks() -> None:
    steps = re.findall(r"^step make (\w+)$", text_of(".ci/run"), re.MULTILINE)
    assert sorted(steps) == ["bench", "check", "package", "test"]
    assert "export IATP_TEST_SERVERS=1" in text_of(".ci/run")


def test_commands_in_the_pages_exist() -> None:
    for page in pages():
        # What stands in code, as a block or within a line.
        code = "\n".join(
            block or span
            for block, span in re.findall(r"(?s)```\w*\n(.*?)```|`([^`\n]+)`", text_of(page))
        )
        for name in re.findall(r"(?m)^(?:\$ )?make ([a-z][\w-]*)", code):
            assert name in targets(), f"{page}: make {name}"
        for name in re.findall(r"(?m)(?:^|[\s/])(?<!from )iatp ([a-z]+)\b", code):
            assert name in COMMANDS, f"{page}: iatp {name}"


def test_the_readme_begins_with_the_two_commands() -> None:
    readme = text_of("README.md")
    assert 0 <= readme.index("make run") < readme.index("make test") < 3000


def anchors(page: str) -> set[str]:
    """The anchors that a page has on the usual hosts, one for each heading."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).strip().replace(" ", "-")
        for heading in headings
    }


def test_links_resolve() -> None:
    broken = []
    for page in pages():
        prose = re.sub(r"(?s)```.*?```|`[^`\n]*`", "", text_of(page))
        for link in re.findall(r"\]\(([^)\s]+)\)", prose):
            if re.match(r"[a-z]+:", link):
                continue
            name, _, anchor = link.partition("#")
            target = (ROOT / page).parent / name if name else ROOT / page
            if not target.exists() or (
                anchor and anchor not in anchors(str(target.resolve().relative_to(ROOT)))
            ):
                broken.append(f"{page}: {link}")
    assert broken == []


def test_no_path_of_one_machine() -> None:
    found = [
        f"{name}: {line.strip()}"
        for name in tracked()
        if not name.endswith(".lock")
        for line in (ROOT / name).read_bytes().decode("utf-8", "replace").splitlines()
        if re.search(r"(?:^|[^\w.])/(?:home|Users|root|opt/pypi)/\w", line)
    ]
    assert found == []

"""The flight record on a screen."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from iatp.cli.screen import BOLD, CYAN, DIM, GREEN, RED, YELLOW, Screen, plain

if TYPE_CHECKING:
    from collections.abc import Iterable

_STYLES = {
    "request": (CYAN,),
    "response": (GREEN,),
    "blocked": (BOLD, RED),
    "warning": (BOLD, YELLOW),
    "user_override": (YELLOW,),
    "error": (RED,),
    "access": (DIM,),
    "retention": (DIM,),
}
_TYPE_WIDTH = max(map(len, _STYLES))
_SHOWN_CHARACTERS = 400


def show_records(
    screen: Screen,
    records: Iterable[dict[str, Any]],
    *,
    indent: int = 2,
    with_trace: bool = False,
) -> None:
    """Print records in their order: one line each, then what it holds.

    Records may come from a peer, so no field is trusted to have its type. `with_trace`: they are
    of several traces and days, so each says of which.
    """
    margin = " " * indent
    for record in records:
        kind = plain(str(record.get("type", "?")))
        clock = plain(str(record.get("timestamp", "")))
        clock = f"{clock[:10]} {clock[11:26]}" if with_trace else clock[11:26]
        label = screen.paint(f"{kind:<{_TYPE_WIDTH}}", *_STYLES.get(kind, ()))
        said = _summary(record)
        if with_trace:
            said = f"{screen.paint(plain(str(record.get('trace_id', ''))), BOLD)}  {said}"
        screen.line(f"{margin}{screen.paint(clock, DIM)}  {label}  {said}")
        for name in ("payload", "response"):
            if name in record:
                screen.line(f"{margin}{'':17}{name}: {screen.marked(_content(record, name))}")
        if kind == "warning":
            for line in str(record.get("warning", "")).splitlines()[1:]:
                screen.line(f"{margin}{'':17}{plain(line)}")


def _summary(record: dict[str, Any]) -> str:
    said: list[str] = []
    if "method" in record or "path" in record:
        said.append(f"{record.get('method', '')} {record.get('path', '')}".strip())
    if "status_code" in record:
        said.append(f"status {record['status_code']}")
    if "decision" in record:
        said.append(f"{record['decision']} ({record.get('rule') or record.get('code', '')})")
    if isinstance(would := record.get("would"), dict):
        said.append(f"would {would.get('decision')} ({would.get('rule', '')})")
    if "trust_score" in record:
        said.append(f"score {record['trust_score']}/10")
    said += _measures(record)
    said += [name for name in ("truncated", "quarantined", "redacted") if record.get(name)]
    sentences = (record.get(name) for name in ("reason", "error", "detail"))
    said += [str(sentence).removesuffix(".") for sentence in sentences if sentence]
    return plain(", ".join(said))


def _measures(record: dict[str, Any]) -> list[str]:
    said = []
    if isinstance(latency_ms := record.get("latency_ms"), int | float):
        said.append(f"{latency_ms:.2f} ms")
    if "response_bytes" in record:
        said.append(f"{record['response_bytes']} bytes")
    if isinstance(findings := record.get("findings"), dict):
        counts = [f"{count} {name}" for name, count in findings.items() if count]
        if counts:
            said.append("found " + ", ".join(counts))
    return said


def _content(record: dict[str, Any], name: str) -> str:
    value = record[name]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if record.get(f"{name}_encoding") == "base64":
        return f"{record.get(f'{name}_bytes', 0)} bytes that are not text"
    shown = plain(text)
    if len(shown) > _SHOWN_CHARACTERS:
        shown = shown[:_SHOWN_CHARACTERS] + " …"
    return shown

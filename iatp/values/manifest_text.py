"""The JSON object that the text of a manifest holds."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from iatp.values.manifest_rules import MOST_PROBLEMS, ManifestError, shown

MOST_BYTES = 64 << 10
"""A manifest of every field at its longest, with a few hundred scopes, fits in half of it."""


def parse(data: bytes | str) -> dict[str, Any]:
    """The JSON object that a text holds. Raises: ManifestError."""
    if not isinstance(data, bytes | bytearray | str):
        raise ManifestError(["the manifest is not a text"])
    if len(data) > MOST_BYTES:
        raise ManifestError([f"the manifest is longer than {MOST_BYTES >> 10} KiB"])
    doubled: list[str] = []
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        document = json.loads(
            text, object_pairs_hook=partial(_object, doubled), parse_constant=_no_constant
        )
    except UnicodeDecodeError:
        raise ManifestError(["the manifest is not UTF-8"]) from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ManifestError([f"the manifest is not JSON: {error.msg} at {where}"]) from None
    except (ValueError, RecursionError):
        # A constant such as NaN, a number of thousands of digits, nesting without end.
        raise ManifestError(
            ["the manifest is not JSON: a number is not one, or it is nested too deeply"]
        ) from None
    if doubled:
        raise ManifestError(doubled[:MOST_PROBLEMS])
    if not isinstance(document, dict):
        raise ManifestError([f"the manifest is not a JSON object but {shown(document)}"])
    return document


def _object(doubled: list[str], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                doubled.append(f"{shown(key)} stands twice in one object")
            seen.add(key)
    return members


def _no_constant(name: str) -> None:
    raise ValueError(name)

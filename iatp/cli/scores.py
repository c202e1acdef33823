"""A trust score and its parts, for machines and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iatp.cli.screen import BOLD, GREEN, YELLOW, Screen, plain
from iatp.decisions.policy import SCORE_TO_PASS
from iatp.values.manifest import CapabilityManifest, explain

if TYPE_CHECKING:
    from collections.abc import Mapping


def score_of(manifest: CapabilityManifest) -> dict[str, Any]:
    """The score and what it is made of, as JSON has it."""
    return {
        "trust_score": manifest.trust_score(),
        "score_parts": [{"part": part, "points": points} for part, points in explain(manifest)],
    }


def show_score(screen: Screen, found: Mapping[str, Any]) -> None:
    """Print what `score_of` gave."""
    score = found["trust_score"]
    style = GREEN if score >= SCORE_TO_PASS else YELLOW
    screen.line(f"trust score {screen.paint(f'{score}/10', BOLD, style)}")
    screen.table([f"{part['points']:+d}", plain(part["part"])] for part in found["score_parts"])

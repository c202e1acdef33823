"""The results as bars, in SVG that is read on light and on dark pages."""

from __future__ import annotations

import math
from collections.abc import Callable
from xml.sax.saxutils import escape, quoteattr

from benchmarks.peers.results import AGENT, Results

_WIDTH, _PANEL, _LEFT, _TOP = 860, 250, 64, 72
_GAP = 74
"""Between panels: the names of the groups and the next title."""
_STYLE = """
.page { fill: #ffffff }
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 14px }
.value { font-size: 10px; text-anchor: middle }
.group { text-anchor: middle }
.tick { text-anchor: end; font-size: 11px }
.line { stroke: #8c959f; stroke-opacity: .35 }
.nginx { fill: #2da189 } .HAProxy { fill: #5b8def } .Envoy { fill: #b07cc6 }
.aiohttp { fill: #98a1ab } .sidecar { fill: #e5602c }
@media (prefers-color-scheme: dark) {
  .page { fill: #0d1117 }
  text { fill: #e6edf3 }
  .nginx { fill: #3fb89d } .HAProxy { fill: #79a6ff } .Envoy { fill: #c79bdb }
  .sidecar { fill: #ff7b45 }
}
"""


def svg(results: Results) -> str:
    """Requests/s at 32 connections, and what is added at 1."""
    panels: list[tuple[str, int, Callable[[str, str], float | None]]] = [
        (
            "Requests per second at 32 connections (more is better)",
            32,
            lambda name, body: results.middle("per_second", name, body, 32),
        ),
        (
            "Added to the agent's median answer at 1 connection, µs (less is better)",
            1,
            lambda name, body: results.added_us(name, body, 1),
        ),
    ]
    measured = {connections for _, connections in results.cases()}
    panels = [panel for panel in panels if panel[1] in measured]
    names = [name for name in results.targets if name != AGENT]
    height = _TOP + len(panels) * (_PANEL + _GAP) - _GAP // 2
    title = f"The sidecar beside plain proxies, one core, {results.date}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f"aria-label={quoteattr(title)}>",
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<rect class="page" width="{_WIDTH}" height="{height}"/>',
    ]
    for number, name in enumerate(names):
        x = _LEFT + number * 110
        parts.append(f'<rect class="{name}" x="{x}" y="12" width="12" height="12" rx="2"/>')
        parts.append(f'<text x="{x + 18}" y="22">{escape(name)}</text>')
    for number, (heading, connections, value) in enumerate(panels):
        bodies = [body for body, found in results.cases() if found == connections]
        top = _TOP + number * (_PANEL + _GAP)
        parts += _panel(heading, top, names, bodies, value)
    return "\n".join([*parts, "</svg>\n"])


def _panel(
    heading: str,
    top: int,
    names: list[str],
    bodies: list[str],
    value: Callable[[str, str], float | None],
) -> list[str]:
    values = {(body, name): value(name, body) or 0.0 for body in bodies for name in names}
    highest = _highest([max(values[body, name] for body in bodies) for name in names])
    step = _step(highest)
    ticks = math.ceil(highest / step)
    scale = _PANEL / (ticks * step)
    bottom, right = top + _PANEL, _WIDTH - 8
    parts = [_text("title", _LEFT, top - 20, heading)]
    for tick in range(ticks + 1):
        y = bottom - tick * step * scale
        parts.append(f'<line class="line" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text("tick", _LEFT - 8, y + 4, f"{tick * step:,.0f}"))
    group = (right - _LEFT) / len(bodies)
    bar = group * 0.84 / len(names)
    for number, body in enumerate(bodies):
        left = _LEFT + (number + 0.08) * group
        parts.append(_text("group", left + 0.42 * group, bottom + 18, body))
        for place, name in enumerate(names):
            found = values[body, name]
            tall = min(max(0.0, found * scale), _PANEL)
            x, y = left + place * bar, bottom - tall
            parts.append(
                f'<rect class="{name}" x="{x:.1f}" y="{y:.1f}" width="{bar - 2:.1f}" '
                f'height="{tall:.1f}">'
                f"<title>{escape(name)}, {escape(body)}: {found:,.0f}</title></rect>"
            )
            parts.append(
                _text("value", x + bar / 2 - 1, y - 3, _short(found) + "↑" * (found * scale > tall))
            )
    return parts


def _highest(by_name: list[float]) -> float:
    """What the axis must reach; bars of one that is far above all others are cut off."""
    *others, last = sorted(by_name) or [1.0]
    return 1.2 * others[-1] if others and last > 2 * others[-1] > 0 else last


def _text(kind: str, x: float, y: float, said: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(said)}</text>'


def _step(highest: float) -> float:
    """A round number, five to ten of which make the axis."""
    if highest <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(highest))
    if highest < 2 * power:
        return power / 5
    return power / 2 if highest < 5 * power else power


def _short(value: float) -> str:
    if value < 1000:
        return f"{value:.0f}"
    return f"{value / 1000:.0f}k" if value >= 10_000 else f"{value / 1000:.1f}k"

"""What was measured before, in baseline.json, and what is measured now beside it.

Two gates, neither of which knows a time:
- How many times faster than something else in the same run: at least the minimum in the
  file, which leaves a machine room for its noise.
- How many instructions a call takes: at most a tenth more than in the file, on a machine
  whose counts can be compared with one in the file.

`make bench ARGS=--renew` writes the file anew: the ratios as they are here, and the counts of
machines like this one. Those of other machines stay.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_name("baseline.json")
ROOM = 0.7
"""A new minimum is this part of the ratio that was measured: ratios of times vary by a fifth
on a busy machine, instructions do not."""
MORE_INSTRUCTIONS = 0.10
SAME_PYTHON = 0.02
"""Two builds of one Python version differ by more than this; two runs of one do not."""


class RegressionError(AssertionError):
    """Something is slower than it was."""


@dataclass
class Baseline:
    """The file, and what this run found."""

    renews: bool = False
    minimal_ratios: dict[str, float] = field(default_factory=dict)
    machines: list[dict[str, Any]] = field(default_factory=list)
    found_ratios: dict[str, float] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    """What to print at the end."""

    @classmethod
    def read(cls, path: Path, *, renews: bool) -> Baseline:
        """The file as it is."""
        stored = json.loads(path.read_text())
        return cls(renews, stored["minimal_ratios"], stored["instructions"])

    def write(self, path: Path) -> None:
        """Keep what this run found; what it did not measure stays."""
        renewed = {name: round(ROOM * ratio, 3) for name, ratio in self.found_ratios.items()}
        stored = {
            "minimal_ratios": self.minimal_ratios | renewed,
            "instructions": self.machines,
        }
        path.write_text(json.dumps(stored, indent=2) + "\n")

    def check_ratio(self, name: str, ratio: float, said: str) -> None:
        """Raises: RegressionError, where it is below its minimum."""
        self.found_ratios[name] = ratio
        minimum = self.minimal_ratios.get(name)
        self.lines.append(f"{name:40} {said}, at least {minimum if minimum else '?'}")
        if self.renews:
            return
        if minimum is None:
            raise RegressionError(f"{name}: no minimum yet (make bench ARGS=--renew)")
        if ratio < minimum:
            raise RegressionError(f"{name}: {said}, and should be at least {minimum}")

    def fits(self, name: str, ratio: float) -> bool:
        """Whether a ratio would pass."""
        return self.renews or ratio >= self.minimal_ratios.get(name, 0.0)

    def counts_like(self, machine: dict[str, str], calibration: int) -> dict[str, int] | str:
        """The counts to compare with, or why there are none."""
        stored = [entry for entry in self.machines if entry["machine"] == machine]
        if not stored:
            return f"no counts of a machine like this one ({', '.join(machine.values())})"
        counts: dict[str, int] = stored[0]["counts"]
        change = calibration / counts["calibration"] - 1
        if abs(change) > SAME_PYTHON:
            return f"Python itself needs {change:+.1%} instructions: it was built in another way"
        return counts

    def keep_counts(self, machine: dict[str, str], counts: dict[str, int]) -> None:
        """In the place of those of a machine like this one."""
        self.machines = [entry for entry in self.machines if entry["machine"] != machine]
        self.machines.append({"machine": machine, "counts": counts})

    def check_counts(self, before: dict[str, int], now: dict[str, int]) -> None:
        """Raises: RegressionError, which names every case that needs too many instructions."""
        slower = []
        for name, count in now.items():
            if name not in before:
                slower.append(f"{name}: no count yet (make bench ARGS=--renew)")
                continue
            change = count / before[name] - 1
            hint = ", renew the baseline" if change < -MORE_INSTRUCTIONS else ""
            self.lines.append(f"{name:40} {count:9,} instructions, {change:+.1%}{hint}")
            if change > MORE_INSTRUCTIONS:
                slower.append(f"{name}: {count:,} instructions, {change:+.1%}")
        if slower:
            raise RegressionError("; ".join(slower))

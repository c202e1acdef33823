"""Microsoft Presidio's pattern recognizers and detect-secrets, on what the agent reads.

Both are made for text, so they get the body decoded (`Body.read`): escapes undone, a line
`"key": value` for each value of JSON. A value counts as found where a finding touches it; of
Presidio's scores that threshold counts which is best for it, kind by kind. Nothing is verified
over the network. Imports below build/detection, where `install` puts what requirements.lock
names; raises ImportError where it did not run.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.detection.marks import Body
from benchmarks.detection.score import Finding

ROOT = Path(__file__).parent.parent.parent
LOCK = Path(__file__).parent / "requirements.lock"
FOLDER = ROOT / "build" / "detection"
NAMES = ("presidio-analyzer", "detect-secrets", "faker", "python-stdnum", "hyperscan")
THRESHOLDS = (0.0, 0.1, 0.5, 0.9)

_VERIFIES = "detect_secrets.filters.common.is_ignored_due_to_verification_policies"
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY.*?(?:-----END [A-Z ]*-----|\Z)", re.DOTALL)


class MissingError(Exception):
    """Something that the benchmark needs cannot be had here."""


def install() -> None:
    """Below build/detection, in the versions and with the hashes of requirements.lock.

    Raises: MissingError.
    """
    done = FOLDER / ".lock"
    lock = LOCK.read_text()
    if not done.exists() or done.read_text() != lock:
        arguments = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--upgrade"]
        quiet = ["--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]
        command = [sys.executable, "-m", "pip", "install", *quiet, *arguments]
        print("detection: installing below build/detection (a minute or two)", file=sys.stderr)
        run = subprocess.run(
            [*command, "--target", str(FOLDER), "-r", str(LOCK)],
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode != 0:
            reason = (run.stderr.strip() or "pip failed").splitlines()[-1]
            raise MissingError(f"the peers could not be installed: {reason}")
        done.write_text(lock)
    # Behind the project's own packages: where both have one, the project's counts.
    sys.path.append(str(FOLDER))


def versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in NAMES}


class Presidio:
    """The recognizers alone: no language model, and so no words around a value."""

    def __init__(self) -> None:
        tldextract: Any = importlib.import_module("tldextract.tldextract")
        # Without this the first address fetches the list of public suffixes.
        tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
        found: Any = importlib.import_module("presidio_analyzer.predefined_recognizers")
        logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)
        self.recognizers = {
            "credit_card": (found.CreditCardRecognizer(), "CREDIT_CARD"),
            "ssn": (found.UsSsnRecognizer(), "US_SSN"),
            "email": (found.EmailRecognizer(), "EMAIL_ADDRESS"),
            "iban": (found.IbanRecognizer(), "IBAN_CODE"),
        }

    def findings(self, body: Body) -> Iterator[tuple[float, Finding]]:
        """With their scores."""
        text = body.read.data.decode()
        places = offsets(text)
        for kind, (recognizer, entity) in self.recognizers.items():
            for each in recognizer.analyze(text, [entity], nlp_artifacts=None):
                yield each.score, (kind, places[each.start], places[each.end])


class DetectSecrets:
    """Every plugin in its default settings, without verification, on a file for each body."""

    def __init__(self) -> None:
        settings: Any = importlib.import_module("detect_secrets.settings")
        core: Any = importlib.import_module("detect_secrets.core.scan")
        util: Any = importlib.import_module("detect_secrets.core.plugins.util")
        plugins = [
            {"name": name}
            for name in sorted(
                each.__name__ for each in util.get_mapping_from_secret_type_to_class().values()
            )
        ]
        settings.get_settings().configure_plugins(plugins)
        settings.get_settings().disable_filters(_VERIFIES)
        assert _VERIFIES not in settings.get_settings().filters
        self._scan_file = core.scan_file
        self._folder = tempfile.TemporaryDirectory(prefix="detection-")
        self._file = Path(self._folder.name) / "body.txt"

    def findings(self, body: Body) -> Iterator[Finding]:
        text = body.read.data.decode()
        self._file.write_bytes(body.read.data)
        places = offsets(text)
        rows = text.splitlines(keepends=True)
        starts = [0]
        for row in rows:
            starts.append(starts[-1] + len(row))
        for each in self._scan_file(str(self._file)):
            if each.type == "Private Key":
                for block in _PEM.finditer(text):
                    yield "secret", places[block.start()], places[block.end()]
                continue
            row = each.line_number - 1
            at = rows[row].find(each.secret_value) if 0 <= row < len(rows) else -1
            if at >= 0:
                low = starts[row] + at
                yield "secret", places[low], places[low + len(each.secret_value)]


def offsets(text: str) -> list[int]:
    """Where each character begins in UTF-8, and where the last ends."""
    found, at = [0], 0
    for sign in text:
        code = ord(sign)
        at += 1 + (code > 0x7F) + (code > 0x7FF) + (code > 0xFFFF)
        found.append(at)
    return found

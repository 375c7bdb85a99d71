"""`make soak`: the slow proofs, and what came of them, written to docs/soak.md."""

from __future__ import annotations

import os
import platform
import sys
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "soak.md"


def main() -> int:
    with TemporaryDirectory() as folder:
        report = Path(folder) / "soak.xml"
        code = pytest.main(
            ["-m", "soak", "-q", "-o", "addopts=-ra --strict-markers", f"--junit-xml={report}", "--timeout=1800"]
        )
        rows = [row(case) for case in ElementTree.parse(report).getroot().iter("testcase")]
    where = f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"
    lines = [
        "# Slow proofs",
        "",
        f"Written by `make soak` on {datetime.now(UTC):%Y-%m-%d}: {where}.",
        "",
        "| proof | result | seconds |",
        "| --- | --- | --- |",
        *rows,
    ]
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return int(code)


def row(case: ElementTree.Element) -> str:
    """One proof: its name in words, its result, how long it took."""
    result = next((kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None), "passed")
    name = (case.get("name") or "").removeprefix("test_").replace("_", " ").replace("|", "¦")
    return f"| {name} | {result} | {float(case.get('time') or 0):.0f} |"


if __name__ == "__main__":
    sys.exit(main())

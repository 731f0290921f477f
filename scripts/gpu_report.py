"""Put what `scripts/test-gpu` has found into one file: the doctor's report and each test."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from amgsrn_core.model.replacement import guard
from amgsrn_core.system.output import replacing
from amgsrn_core.volume.replacement import JSON


def outcome(case: ElementTree.Element) -> dict[str, Any]:
    """Return a test's name, its outcome, and why it was skipped or failed."""
    result = {"test": f"{case.get('classname')}.{case.get('name')}", "seconds": case.get("time")}
    for kind in ("failure", "error", "skipped"):
        found = case.find(kind)
        if found is not None:
            return {**result, "outcome": kind, "reason": found.get("message", "")}
    return {**result, "outcome": "passed"}


def report(folder: Path) -> dict[str, Any]:
    """Return the doctor's report and the tests; either may be missing where it did not end."""
    doctor, tests = folder / "doctor.json", folder / "tests.xml"
    cases = ElementTree.parse(tests).iter("testcase") if tests.exists() else ()
    return {
        "doctor": json.loads(doctor.read_text()) if doctor.exists() else None,
        "tests": [outcome(case) for case in cases],
    }


def main() -> int:
    """Write the report; return 1 unless something was tested and all of it is right."""
    folder, destination = Path(sys.argv[1]), sys.argv[2]
    found = report(folder)
    guard(destination, JSON, by="test-gpu")
    with replacing(destination) as temporary:
        temporary.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    outcomes = [test["outcome"] for test in found["tests"]]
    pictures = (found["doctor"] or {}).get("pictures", [])
    wrong = [picture for picture in pictures if not picture["is_right"]]
    counts = ", ".join(f"{outcomes.count(kind)} {kind}" for kind in sorted(set(outcomes)))
    print(f"{destination}: {counts or 'no test'}; {len(wrong)} of {len(pictures)} pictures wrong")
    is_right = "passed" in outcomes and not {"failure", "error"} & set(outcomes)
    return 0 if is_right and pictures and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())

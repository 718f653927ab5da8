"""Run the matrix, and write its page."""

import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from .page import PAGE, cell_tests, page


def main() -> int:
    folder = Path(__file__).parent
    files = [str(folder / name) for name in ("test_matrix.py", "test_routes.py")]
    with tempfile.TemporaryDirectory() as kept:
        report = Path(kept) / "report.xml"
        asked = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *files]
        code = subprocess.run(asked, check=False).returncode
        cases = ElementTree.parse(report).iter("testcase")
        passed = {case.get("name") for case in cases if all(each.tag in ("properties", "system-out") for each in case)}
    PAGE.write_text(page({name: name in passed for name in cell_tests()}), encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())

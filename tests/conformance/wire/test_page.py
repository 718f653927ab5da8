"""The committed page of the matrix is of this matrix."""

from .page import PAGE, cell_tests, page


def test_the_page_has_every_cell_and_each_passed() -> None:
    """The cells themselves are tests of this suite: a page with another cell, or a failed one, is an old page."""
    assert PAGE.read_text(encoding="utf-8") == page(dict.fromkeys(cell_tests(), True)), "make conformance"


def test_a_cell_that_failed_is_marked() -> None:
    results = dict.fromkeys(cell_tests(), True) | {"test_cell[block-anthropic-gemini-stream]": False}
    (row,) = (line for line in page(results).splitlines() if line.startswith("|") and "✗" in line)
    assert row == "| block | ✓ ✓ | ✓ ✓ | ✓ ✓ | ✓ ✗ |"

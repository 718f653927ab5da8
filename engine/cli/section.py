"""One section of the reference, as a terminal shows it."""

from rich.markdown import Markdown

from .output import console


def print_section(markdown: str) -> None:
    """Show a few headings, paragraphs and tables; what renders them is loaded by the verbs that need it alone."""
    console().print(Markdown(markdown))

"""YAML 1.2 files become plain data that knows where every key, value and character stood."""

from engine.documents.comments import Suppression, suppressions
from engine.documents.document import Document, Step
from engine.documents.load import MAX_CHARACTERS, MAX_DEPTH, MAX_NODES, NOT_TEXT, load, read

__all__ = [
    "MAX_CHARACTERS",
    "MAX_DEPTH",
    "MAX_NODES",
    "NOT_TEXT",
    "Document",
    "Step",
    "Suppression",
    "load",
    "read",
    "suppressions",
]

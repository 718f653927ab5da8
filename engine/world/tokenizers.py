"""OpenAI's tokenizers by the optional extra `tiktoken`: only from vocabularies that lie on disk, never from the network.

`TIKTOKEN_CACHE_DIR` names the folder, as tiktoken itself understands it: a vocabulary is a file in it whose name is the
SHA-1 of the URL that it comes from. One that is missing or not the published one is not used.
"""

import functools
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from engine.world.estimates import Count

try:
    import tiktoken
    from tiktoken.model import encoding_name_for_model

    INSTALLED = True
except ImportError:  # without the extra, models are estimated
    INSTALLED = False

_BASE: Final = "https://openaipublic.blob.core.windows.net/encodings/"
VOCABULARIES: Final[Mapping[str, tuple[str, str]]] = {
    "o200k_base": (
        _BASE + "o200k_base.tiktoken",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    ),
    "cl100k_base": (
        _BASE + "cl100k_base.tiktoken",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
}
"""Encoding -> where tiktoken fetches its vocabulary, and the SHA-256 that it expects."""

SLICE: Final = 20_000
"""Characters that are encoded at one time, so that no text holds the event loop for long."""
REMEMBERED: Final = 4_096
"""Texts whose count is remembered (not the texts): a conversation is sent again with every turn."""


def open_tokenizers(environ: Mapping[str, str] = os.environ) -> "Tokenizers":
    """The tokenizers whose vocabularies lie in `TIKTOKEN_CACHE_DIR`; none without the extra or the folder."""
    folder = environ.get("TIKTOKEN_CACHE_DIR", "")
    if not INSTALLED or not folder or folder != os.environ.get("TIKTOKEN_CACHE_DIR"):
        return Tokenizers({})
    sound = [name for name, (url, digest) in VOCABULARIES.items() if _lies_in(Path(folder), url, digest)]
    return Tokenizers({name: tiktoken.get_encoding(name) for name in sound})


def _lies_in(folder: Path, url: str, digest: str) -> bool:
    file = folder / hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest() == digest
    except OSError:
        return False


class Tokenizers:
    """Counters of texts, by model."""

    def __init__(self, encodings: Mapping[str, "tiktoken.Encoding"]) -> None:
        self._counters: dict[str, Count] = {name: _counter(encoding) for name, encoding in encodings.items()}

    def __call__(self, model: str) -> Count | None:
        """The counter of a model, also under a name that begins with its backend or provider; None for a foreign one."""
        if not self._counters:
            return None
        return self._counters.get(_encoding_of(model))


@functools.lru_cache(maxsize=1024)
def _encoding_of(model: str) -> str:
    name = model.rpartition("/")[2].rpartition(":")[2] if not model.startswith("ft:") else model
    try:
        return encoding_name_for_model(name)
    except KeyError:
        return ""


def _counter(encoding: "tiktoken.Encoding") -> Count:
    known: dict[tuple[int, int], int] = {}

    def count(text: str) -> int:
        key = (hash(text), len(text))
        tokens = known.get(key)
        if tokens is None:
            if len(known) >= REMEMBERED:
                known.clear()
            slices = (text[start : start + SLICE] for start in range(0, len(text), SLICE))
            tokens = known[key] = sum(len(encoding.encode_ordinary(each)) for each in slices)
        return tokens

    return count

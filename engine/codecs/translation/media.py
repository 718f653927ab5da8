"""Images, sounds and documents: between data URLs, as OpenAI writes them, and what they hold."""

import base64
import binascii
from collections.abc import Mapping
from typing import Final

from engine.model.exchange import Media

IMAGES: Final = frozenset(("image/jpeg", "image/png", "image/gif", "image/webp"))
"""What every provider can look at."""

PDF: Final = "application/pdf"

_AUDIO: Final[Mapping[str, str]] = {"wav": "audio/wav", "mp3": "audio/mpeg", "ogg": "audio/ogg", "flac": "audio/flac"}
_AUDIO_FORMATS: Final[Mapping[str, str]] = {
    **{mime: name for name, mime in _AUDIO.items()},
    "audio/x-wav": "wav",
    "audio/mp3": "mp3",
}


def media_of_url(url: str, *, name: str = "", detail: str = "") -> Media:
    """What a URL says: its own data where it is a data URL, else where the data is."""
    if not url.startswith("data:"):
        return Media(url=url, name=name, detail=detail)
    head, _, data = url[len("data:") :].partition(",")
    mime, *parameters = head.split(";")
    if "base64" not in parameters:
        data = base64.b64encode(data.encode()).decode()
    return Media(mime=mime.strip().lower() or "text/plain", data=data, name=name, detail=detail)


def data_url(media: Media) -> str:
    return f"data:{media.mime};base64,{media.data}"


def text_in(media: Media) -> str | None:
    """The text of a document that is text; None for any other."""
    if not media.data or not (media.mime.startswith("text/") or media.mime == "application/json"):
        return None
    try:
        return base64.b64decode(media.data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def audio_mime(format: str) -> str:
    """The MIME type of a sound by the word that OpenAI has for it."""
    return _AUDIO.get(format.lower(), f"audio/{format.lower()}")


def audio_format(mime: str) -> str:
    """The word that OpenAI has for a sound, "" where it takes none of its kind."""
    return _AUDIO_FORMATS.get(mime.lower(), "")

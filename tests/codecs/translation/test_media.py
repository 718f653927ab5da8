"""Images, sounds and documents between data URLs and what they hold."""

import pytest

from engine.codecs.translation.media import audio_format, audio_mime, data_url, media_of_url, text_in
from engine.model.exchange import Media


def test_a_data_url_is_its_data() -> None:
    media = media_of_url("data:image/PNG;base64,aGk=", detail="low")
    assert media == Media(mime="image/png", data="aGk=", detail="low")
    assert data_url(media) == "data:image/png;base64,aGk="


def test_a_data_url_may_be_plain() -> None:
    assert text_in(media_of_url("data:text/plain,hi")) == "hi"


def test_another_url_is_where_the_data_is() -> None:
    assert media_of_url("https://example.com/a.png") == Media(url="https://example.com/a.png")


@pytest.mark.parametrize("media", [Media(mime="application/pdf", data="aGk="), Media(mime="text/plain", data="/w==")])
def test_only_text_is_text(media: Media) -> None:
    assert text_in(media) is None


def test_sounds_have_words() -> None:
    assert audio_format(audio_mime("mp3")) == "mp3"
    assert audio_format("audio/midi") == ""

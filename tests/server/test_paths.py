"""Which codec speaks at a path, and where credentials in a query go."""

import pytest

from engine.codecs import CODECS, PATHS
from engine.model.exchange import Protocol
from engine.server.paths import GooglePath, codec_for, google_path, without_credentials


@pytest.mark.parametrize(
    ("path", "model", "method"),
    [
        ("/v1beta/models/gemini-2.5-pro:generateContent", "gemini-2.5-pro", "generateContent"),
        ("/v1/models/gemini-2.5-pro:streamGenerateContent", "gemini-2.5-pro", "streamGenerateContent"),
        ("/v1alpha/models/gemini-3-pro:countTokens", "gemini-3-pro", "countTokens"),
        ("/v1beta/models/local:llama3:8b:generateContent", "local:llama3:8b", "generateContent"),
        ("/v1beta/models/google/gemma-3:generateContent", "google/gemma-3", "generateContent"),
        ("/v1beta/tunedModels/mine:generateContent", "tunedModels/mine", "generateContent"),
    ],
)
def test_the_path_names_model_and_method(path: str, model: str, method: str) -> None:
    assert google_path(path) == GooglePath(model, method)


@pytest.mark.parametrize(
    "path",
    ["/v1beta/models", "/v1beta/models/gemini-2.5-pro", "/v1beta/models/:generateContent", "/models/x:generateContent"],
)
def test_other_paths_name_none(path: str) -> None:
    assert google_path(path) is None


def test_a_plain_path_is_its_codecs_and_says_nothing_more() -> None:
    for path, codec in PATHS.items():
        assert codec_for(path) == (codec, {})


def test_nothing_else_begins_an_exchange() -> None:
    for path in ("/", "/v1/models", "/v1beta/models/gemini-2.5-pro:batchEmbedContents", "/v1/chat/completions/"):
        assert codec_for(path) is None


@pytest.mark.skipif(Protocol.GEMINI not in CODECS, reason="the codec is not there yet")
def test_the_methods_that_generate_begin_an_exchange() -> None:
    spoken = codec_for("/v1beta/models/gemini-2.5-pro:streamGenerateContent")
    assert spoken == (CODECS[Protocol.GEMINI], {"model": "gemini-2.5-pro", "method": "streamGenerateContent"})


def test_a_key_in_the_query_becomes_a_header() -> None:
    query, headers = without_credentials("alt=sse&key=AIza%2Bx&%6bey=again", [(b"host", b"localhost")])
    assert query == "alt=sse"
    assert headers == [(b"host", b"localhost"), (b"x-goog-api-key", b"AIza+x"), (b"x-goog-api-key", b"again")]


def test_a_header_that_is_there_wins_over_the_query() -> None:
    headers = [(b"x-goog-api-key", b"mine"), (b"authorization", b"Bearer a")]
    assert without_credentials("key=other&access_token=b&x=1", headers) == ("x=1", headers)


def test_a_query_without_credentials_stays_as_it_is() -> None:
    assert without_credentials("alt=sse&&a", []) == ("alt=sse&&a", [])

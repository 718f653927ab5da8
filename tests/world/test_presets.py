"""A backend of every preset, with nothing beside it but a key, asks the right URL with the key in the right header."""

import asyncio
from pathlib import Path
from typing import Any, Final

import pytest

from engine.codecs import CODECS
from engine.model.exchange import Exchange
from engine.settings import load_settings
from engine.settings.presets import presets
from engine.world.backends import MAIN, Backend
from engine.world.http.base import Headers, Request

BEARER: Final = (b"authorization", b"Bearer k")
ASKED: Final = {
    "openai": "https://api.openai.com:443/v1/chat/completions",
    "anthropic": "https://api.anthropic.com:443/v1/messages",
    "gemini": "https://generativelanguage.googleapis.com:443/v1beta/models/m:generateContent",
    "azure": "https://resource.openai.azure.com:443/openai/v1/chat/completions",
    "openrouter": "https://openrouter.ai:443/api/v1/chat/completions",
    "mistral": "https://api.mistral.ai:443/v1/chat/completions",
    "deepseek": "https://api.deepseek.com:443/v1/chat/completions",
    "groq": "https://api.groq.com:443/openai/v1/chat/completions",
    "together": "https://api.together.xyz:443/v1/chat/completions",
    "fireworks": "https://api.fireworks.ai:443/inference/v1/chat/completions",
    "xai": "https://api.x.ai:443/v1/chat/completions",
    "cerebras": "https://api.cerebras.ai:443/v1/chat/completions",
    "perplexity": "https://api.perplexity.ai:443/chat/completions",
    "cohere": "https://api.cohere.ai:443/compatibility/v1/chat/completions",
    "nvidia": "https://integrate.api.nvidia.com:443/v1/chat/completions",
    "huggingface": "https://router.huggingface.co:443/v1/chat/completions",
    "deepinfra": "https://api.deepinfra.com:443/v1/openai/chat/completions",
    "sambanova": "https://api.sambanova.ai:443/v1/chat/completions",
    "moonshot": "https://api.moonshot.ai:443/v1/chat/completions",
    "zai": "https://api.z.ai:443/api/paas/v4/chat/completions",
    "zhipu": "https://open.bigmodel.cn:443/api/paas/v4/chat/completions",
    "alibaba": "https://dashscope-intl.aliyuncs.com:443/compatible-mode/v1/chat/completions",
    "ollama": "http://127.0.0.1:11434/v1/chat/completions",
    "vllm": "http://127.0.0.1:8000/v1/chat/completions",
    "lmstudio": "http://127.0.0.1:1234/v1/chat/completions",
    "llamacpp": "http://127.0.0.1:8080/v1/chat/completions",
}
KEYS: Final = {"anthropic": (b"x-api-key", b"k"), "gemini": (b"x-goog-api-key", b"k"), "azure": (b"api-key", b"k")}


class _Answered:
    status = 200

    def __init__(self) -> None:
        self.headers: Headers = []


class _Seen:
    """A client that remembers what it was to send, and finds nobody."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    async def send(self, request: Request, _timeouts: Any) -> _Answered:
        self.requests.append(request)
        return _Answered()

    async def aclose(self) -> None:
        pass


def test_every_preset_is_here() -> None:
    assert ASKED.keys() == presets().keys()


@pytest.mark.parametrize("name", ASKED)
def test_a_request_goes_to_the_presets_place_with_its_key(name: str, tmp_path: Path) -> None:
    preset = presets()[name]
    place = "" if "base_url" in preset.settings else f", base_url: '{preset.place}'"
    path = tmp_path / "lexgate.yaml"
    path.write_text(f"backends: {{{name}: {{api_key: k{place}}}}}\n")
    settings = load_settings(path, {}).settings.backends[name]
    seen: Any = _Seen()
    codec = CODECS[MAIN[settings.protocol]]
    exchange = Exchange(id="x", protocol=codec.protocol, model="m", stream=False, messages=())
    own = (b"authorization", b"Bearer mine")
    backend = Backend(name, settings, seen)
    asyncio.run(backend.send(codec.upstream_path(exchange), b"{}", [own], {}))
    (request,) = seen.requests
    origin = request.origin
    assert f"{origin.scheme}://{origin.host}:{origin.port}{request.target.decode()}" == ASKED[name]
    assert [each for each in request.headers if b"k" in each[1].split()] == [KEYS.get(name, BEARER)]
    assert own not in request.headers

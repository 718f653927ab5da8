"""Presets are a layer of their own, and what is wrong with a backend is said where it is configured."""

from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from engine.diagnostics import ConfigurationError
from engine.settings import Loaded, describe, load_settings
from engine.settings.model import Backend
from engine.settings.presets import Preset, presets
from engine.settings.values import decode
from engine.world.price_list import PriceList


def loaded(tmp_path: Path, source: str, environ: dict[str, str] | None = None) -> Loaded:
    path = tmp_path / "lexgate.yaml"
    path.write_text(source)
    return load_settings(path, environ or {})


def wrong(tmp_path: Path, source: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, source)
    return [f"{each.where.line}:{each.where.column} {each.message} | {each.help}" for each in caught.value.diagnostics]


def layers(found: Loaded, backend: str) -> dict[str, tuple[str, str]]:
    start = f"backends.{backend}."
    return {
        each.path.removeprefix(start): (each.value, str(each.layer))
        for each in describe(found)
        if each.path.startswith(start)
    }


@pytest.mark.parametrize("name", list(presets()))
def test_every_preset_is_a_backend(name: str) -> None:
    """Its settings are the model's, its places are URLs, and whose prices hold is in the price list."""
    preset = presets()[name]
    settings = dict(preset.settings)
    backend = msgspec.convert(settings, Backend, dec_hook=decode)
    place = urlsplit(backend.base_url or preset.place)
    assert place.scheme == ("https" if preset.key else "http")
    assert bool(preset.key) == (place.hostname != "127.0.0.1")
    assert backend.models or backend.discover or preset.place
    assert not place.path.endswith("/")
    if backend.provider:
        assert PriceList().has(backend.provider)
    assert urlsplit(preset.docs).scheme == "https"


def test_a_preset_is_named_or_is_the_backends_own_name(tmp_path: Path) -> None:
    source = "backends:\n  openai: {api_key: k}\n  work: {preset: anthropic, api_key: k}\n  ollama:\n"
    backends = loaded(tmp_path, source).settings.backends
    assert [(each.preset, each.protocol) for each in backends.values()] == [
        ("openai", "openai"),
        ("anthropic", "anthropic"),
        ("ollama", "openai"),
    ]
    assert backends["openai"].capabilities.responses


def test_who_says_the_protocol_and_no_preset_gets_none(tmp_path: Path) -> None:
    """A name alone does not say whose server it is, once the file says what it is."""
    source = "backends: {openai: {protocol: openai, base_url: 'http://127.0.0.1/v1'}}\n"
    assert loaded(tmp_path, source).settings.backends["openai"] == Backend(
        protocol="openai", base_url="http://127.0.0.1/v1"
    )


def test_whatever_is_said_wins_over_the_preset_and_each_value_names_its_layer(tmp_path: Path) -> None:
    source = "backends:\n  openai: {api_key: k, models: [gpt-5], capabilities: {stream_usage: false}}\n"
    found = layers(loaded(tmp_path, source, {"LEXGATE_BACKENDS__OPENAI__BASE_URL": "http://h/v1"}), "openai")
    assert found["protocol"] == ("openai", "preset openai")
    assert found["base_url"] == ("http://h/v1", "LEXGATE_BACKENDS__OPENAI__BASE_URL")
    assert found["models"][0] == '["gpt-5"]'
    assert found["models"][1].endswith("lexgate.yaml:2:32")
    assert found["capabilities.responses"] == ("true", "preset openai")
    assert found["capabilities.stream_usage"][0] == "false"
    assert found["verify"] == ("true", "default")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("backends: {a: {preset: opnai}}\n",
         "1:24 'backends.a.preset': there is no preset 'opnai' | did you mean 'openai'?"),
        ("backends: {opnai: {api_key: k}}\n",
         "1:12 the backend 'opnai' has no protocol, and there is no preset of its name | did you mean 'openai'?"),
        ("backends:\n  openai:\n",
         "2:10 the backend 'openai' has no key, and OpenAI needs one | "
         'api_key: "${OPENAI_API_KEY}", or api_key: client to forward every caller\'s own'),
        ("backends: {azure: {api_key: k}}\n",
         "1:19 backend 'azure' needs an http:// or https:// URL | "
         "base_url: https://RESOURCE.openai.azure.com/openai/v1"),
        ("backends: {groq: {api_key: ''}}\n",
         "1:28 a key of the backend 'groq' is empty | set the variable or the file that it comes from"),
        ("backends: {xai: {api_key: [k, client]}}\n",
         "1:27 the backend 'xai' has both keys of its own and the caller's | configure it twice, under two names"),
        ("backends: {groq: {api_key: client}}\n",
         "1:18 the backend 'groq' has no key of its own to ask for its models with | "
         "discover: false, and name its models"),
        ("backends: {xai: {api_key: k, key_header: 'a b'}}\n", "1:42 'a b' is no name of a header | "),
    ],
)  # fmt: skip
def test_a_mistake_is_said_where_it_is_with_what_helps(tmp_path: Path, source: str, message: str) -> None:
    assert wrong(tmp_path, source) == [message]


def test_a_key_with_a_line_break_is_not_shown(tmp_path: Path) -> None:
    (message,) = wrong(tmp_path, 'backends: {groq: {api_key: "very-\\nsecret"}}\n')
    assert "line break" in message
    assert "secret" not in message


@pytest.mark.parametrize(
    "source",
    [
        "backends: {openai: {headers: {Authorization: 'Bearer x'}}}\n",
        "backends: {openai: {base_url: 'http://127.0.0.1/v1'}}\n",
        "backends: {openai: {api_key: client}}\n",
    ],
)
def test_a_preset_without_a_key_is_fine_where_it_needs_none(tmp_path: Path, source: str) -> None:
    loaded(tmp_path, source)


def test_in_team_mode_a_callers_login_is_forwarded_only_where_that_is_meant(tmp_path: Path) -> None:
    team = "server: {mode: team}\nbackends: {anthropic: {api_key: client%s}}\n"
    messages = wrong(tmp_path, team % "")
    assert any("would get the callers' own logins | forward_client_key: true" in each for each in messages)
    assert loaded(tmp_path, team % ", forward_client_key: true").settings.backends["anthropic"].forwards_client_key


def test_a_preset_lists_its_values_by_path() -> None:
    preset = Preset(title="t", docs="", settings={"a": {"b": 1, "c": [2]}, "d": 3})
    assert dict(preset.values()) == {("a", "b"): 1, ("a", "c"): [2], ("d",): 3}


def test_the_page_of_backends_shows_every_preset() -> None:
    page = (Path(__file__).parents[1] / "docs/backends.md").read_text("utf-8")
    for name, preset in presets().items():
        place = preset.settings.get("base_url") or preset.place
        key = f"`{preset.key}`" if preset.key else "none"
        assert f"| `{name}` | [{preset.title}]({preset.docs}) | `{place}` | {key} |" in page

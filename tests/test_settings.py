"""The configuration: four layers, what is wrong with it, secrets, and what the model tells others."""

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import jsonschema
import pytest

from engine import documents, resources
from engine.diagnostics import ConfigurationError
from engine.settings import (
    LayerKind,
    Loaded,
    Seconds,
    Secret,
    SecretUrl,
    Settings,
    Size,
    describe,
    load_settings,
    options,
    settings_schema,
)

FULL = """\
server: {host: 127.0.0.1, port: 8000, mode: personal, trusted_proxies: []}
policies: [./policies, {path: ./teams/payments, scope: {team: payments}, max_priority: 50}]
packs: {secrets: {mode: shadow}, dangerous-commands: {}}
require: [dangerous-commands]
backends:
  openai:    {protocol: openai, base_url: https://api.openai.com/v1, api_key: "${OPENAI_API_KEY}", models: ["gpt-*", "o?-*"],
              capabilities: {responses: true}}
  anthropic: {protocol: anthropic, base_url: https://api.anthropic.com, api_key: "${ANTHROPIC_API_KEY}", models: ["claude-*"]}
  local:     {protocol: openai, base_url: http://127.0.0.1:11434/v1, models: ["llama*", "qwen*"]}
routes: {coding: "anthropic:claude-sonnet-4-5|openai:gpt-5"}
default_route: "@coding"
commands: {prefix: "!/"}
state: sqlite:///var/lexgate.db
audit: {path: var/audit.jsonl, content: hash}
record: {path: var/traffic, sample: 0}
"""
KEYS = {"OPENAI_API_KEY": "sk-one", "ANTHROPIC_API_KEY": "sk-two"}


def loaded(
    tmp_path: Path, source: str, environ: Mapping[str, str] | None = None, overrides: Sequence[tuple[str, str]] = ()
) -> Loaded:
    path = tmp_path / "lexgate.yaml"
    path.write_text(source, "utf-8")
    return load_settings(path, environ or {}, overrides)


def wrong(
    tmp_path: Path, source: str, environ: Mapping[str, str] | None = None, overrides: Sequence[tuple[str, str]] = ()
) -> list[str]:
    """Return what is wrong as `CODE place message | help`, without the folder."""
    with pytest.raises(ConfigurationError) as raised:
        loaded(tmp_path, source, environ, overrides)
    found = raised.value.diagnostics
    return [f"{each.code} {each.where} {each.message} | {each.help}".replace(f"{tmp_path}/", "") for each in found]


def test_without_anything_the_defaults_hold_and_the_sandbox_answers(tmp_path: Path) -> None:
    settings = load_settings(None, {}, folder=tmp_path).settings
    assert (settings.server.host, settings.server.port, settings.server.mode) == ("127.0.0.1", 8000, "personal")
    assert settings.backends == {}
    assert settings.served_backends["sandbox"].protocol == "sandbox"


def test_the_documented_configuration_loads(tmp_path: Path) -> None:
    settings = loaded(tmp_path, FULL, KEYS).settings
    assert [each.path for each in settings.policies] == ["./policies", "./teams/payments"]
    scope = settings.policies[1].scope
    assert scope is not None
    assert scope.team == ("payments",)
    assert settings.packs["secrets"].mode == "shadow"
    assert settings.packs["dangerous-commands"].mode is None
    assert [key.reveal() for key in settings.backends["openai"].api_key] == ["sk-one"]
    assert settings.backends["openai"].capabilities.responses
    assert list(settings.served_backends) == ["openai", "anthropic", "local"]


def test_each_layer_overrides_the_one_below_and_is_remembered(tmp_path: Path) -> None:
    source = "server:\n  port: 1000\n  host: localhost\n  workers: 1\n"
    found = loaded(
        tmp_path, source, {"LEXGATE_SERVER__PORT": "2000", "LEXGATE_SERVER__HOST": "::1"}, [("server.port", "3000")]
    )
    server = found.settings.server
    assert (server.port, server.host, server.workers, server.mode) == (3000, "::1", 1, "personal")
    layers = [found.layer(("server", name)) for name in ("port", "host", "workers", "mode")]
    assert [each.kind for each in layers] == [LayerKind.FLAG, LayerKind.ENVIRONMENT, LayerKind.FILE, LayerKind.DEFAULT]
    shown = [str(each).replace(f"{tmp_path}/", "") for each in layers]
    assert shown == ["--set server.port", "LEXGATE_SERVER__HOST", "lexgate.yaml:4:12", "default"]


def test_mappings_merge_and_lists_replace(tmp_path: Path) -> None:
    source = "packs: {secrets: {mode: shadow, sets: {a: [x]}}}\nrequire: [one, two]\n"
    environ = {
        "LEXGATE_PACKS": "{model-aliases: {mode: off}}",
        "LEXGATE_REQUIRE": "three",
        "LEXGATE_PACKS__SECRETS__MODE": "off",
    }
    settings = loaded(tmp_path, source, environ).settings
    assert {name: pack.mode for name, pack in settings.packs.items()} == {"secrets": "off", "model-aliases": "off"}
    assert settings.packs["secrets"].sets == {"a": ("x",)}
    assert settings.require == ("three",)


def test_an_empty_mapping_merges_nothing(tmp_path: Path) -> None:
    source = "packs: {secrets: {mode: shadow}}\n"
    found = loaded(tmp_path, source, {"LEXGATE_PACKS": "{}"}, [("packs.secrets", "{}")])
    assert found.settings.packs["secrets"].mode == "shadow"
    assert found.layer(("packs", "secrets", "mode")).kind is LayerKind.FILE


def test_variables_take_the_type_of_their_setting(tmp_path: Path) -> None:
    environ = {
        "LEXGATE_SERVER__MAX_BODY": "10MB",
        "LEXGATE_SERVER__TRUSTED_PROXIES": "10.0.0.1, 10.0.0.2",
        "LEXGATE_RECORD__SAMPLE": "0.5",
        "LEXGATE_RELOAD__ENABLED": "false",
        "LEXGATE_STREAM__COMMIT_AFTER": "500ms",
        "LEXGATE_COMMANDS__PREFIX": "007",
        "LEXGATE_BACKENDS__MY_GPU": "{protocol: sandbox, models: ['*']}",
        "LEXGATE_CONFIG": "elsewhere",
        "PATH": "/bin",
    }
    settings = load_settings(None, environ, folder=tmp_path).settings
    assert settings.server.max_body == 10_000_000
    assert settings.server.trusted_proxies == ("10.0.0.1", "10.0.0.2")
    assert (settings.record.sample, settings.reload.enabled, settings.stream.commit_after) == (0.5, False, 0.5)
    assert settings.commands.prefix == "007"
    assert settings.backends["my-gpu"].models == ("*",)


def test_a_variable_finds_the_configured_name_that_reads_the_same(tmp_path: Path) -> None:
    source = "backends:\n  My_gpu.2: {protocol: sandbox}\n"
    found = loaded(tmp_path, source, {"LEXGATE_BACKENDS__MY_GPU_2__MODELS": "[a]"})
    assert found.settings.backends["My_gpu.2"].models == ("a",)


def test_everything_that_is_wrong_is_said_at_once_with_its_place(tmp_path: Path) -> None:
    source = "server:\n  prot: 1\n  port: many\n  mode: persnal\nrecord: {sample: 2}\nbackends:\n  a: {models: [1]}\n"
    environ = {"LEXGATE_SERVER__PROT": "1", "LEXGATE_STREAM__KEEP_ALIVE": "long"}
    assert wrong(tmp_path, source, environ, [("server.wrokers", "2"), ("log.level", "loud")]) == [
        "E120 LEXGATE_SERVER__PROT there is no setting 'server.prot' | did you mean 'LEXGATE_SERVER__PORT'?",
        "E120 --set server.wrokers there is no setting 'server.wrokers' | did you mean 'server.workers'?",
        "E120 lexgate.yaml:2:3 there is no setting 'server.prot' | did you mean 'port'?",
        "E121 lexgate.yaml:3:9 'server.port': expected a whole number, got text | ",
        "E121 lexgate.yaml:4:9 'server.mode': expected one of personal, team | did you mean 'personal'?",
        "E121 lexgate.yaml:5:18 'record.sample': expected a number <= 1.0 | ",
        "E121 lexgate.yaml:7:16 'backends.a.models.0': expected text, got a whole number | ",
        "E122 lexgate.yaml:7:3 'backends.a' needs the setting 'protocol' | The protocol that it speaks.",
        "E121 LEXGATE_STREAM__KEEP_ALIVE 'stream.keep_alive': expected a length of time such as 10, 500ms, 5m or 1h | ",
        "E121 --set log.level 'log.level': expected one of debug, info, warning, error | "
        "known here: debug, info, warning, error",
    ]


def test_a_part_of_a_list_cannot_be_set(tmp_path: Path) -> None:
    found = wrong(tmp_path, "policies: [a]\n", {}, [("policies.0.path", "b"), ("", "x")])
    assert [each.split(" | ")[0] for each in found] == [
        "E120 --set policies.0.path there is no setting 'policies.0.path'",
        "E120 --set  there is no setting ''",
    ]


def test_a_secret_that_holds_a_comma_is_one_secret(tmp_path: Path) -> None:
    source = "backends: {a: {protocol: openai, base_url: http://h, api_key: '${KEY}'}}\n"
    assert loaded(tmp_path, source, {"KEY": "a,b"}).settings.backends["a"].api_key == (Secret("a,b"),)


def test_yaml_errors_are_configuration_errors(tmp_path: Path) -> None:
    assert wrong(tmp_path, "server: {port: 1}\nserver: {port: 2}\n")[0].startswith("E102 lexgate.yaml:2:1 ")
    assert wrong(tmp_path, "- a\n") == ["E121 lexgate.yaml:1:1 a configuration is a mapping of settings | "]


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is not there"):
        load_settings(tmp_path / "none.yaml", {})


def test_a_file_that_cannot_be_opened_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "lexgate.yaml").write_text("")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ConfigurationError, match="cannot be read: Permission denied"):
        load_settings(tmp_path / "lexgate.yaml", {})


def test_references_are_expanded_and_take_the_type_of_their_setting(tmp_path: Path) -> None:
    source = "server: {port: '${PORT}', host: '${HOST:-localhost}'}\ncommands: {prefix: 'a$${b}${EMPTY:-}'}\n"
    settings = loaded(tmp_path, source, {"PORT": "9000"}).settings
    assert (settings.server.port, settings.server.host, settings.commands.prefix) == (9000, "localhost", "a${b}")


def test_a_missing_variable_is_named_where_it_stands(tmp_path: Path) -> None:
    source = "routes:\n  a: 'x:${NOPE}'\n  b: '${'\n"
    assert wrong(tmp_path, source) == [
        "E123 lexgate.yaml:2:9 'routes.a': the environment variable NOPE is not set | set it, or give a default: ${NOPE:-…}",
        "E123 lexgate.yaml:3:7 'routes.b': `${` is never closed or holds no name | write $${ for a plain ${",
    ]


def test_a_missing_variable_is_said_once(tmp_path: Path) -> None:
    assert [each[:4] for each in wrong(tmp_path, "server: {port: '${NOPE}'}\n")] == ["E123"]


def test_a_variable_that_the_file_refers_to_is_no_unknown_setting(tmp_path: Path) -> None:
    source = "commands: {prefix: '${LEXGATE_SIGN}'}\n"
    assert loaded(tmp_path, source, {"LEXGATE_SIGN": "#"}).settings.commands.prefix == "#"


def test_a_secret_may_stand_in_a_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-file\n")
    source = "backends: {a: {protocol: openai, base_url: http://h, api_key: 'file:key'}}\n"
    found = loaded(tmp_path, source)
    assert found.settings.backends["a"].api_key == (Secret("sk-file"),)
    assert found.layer(("backends", "a", "api_key", 0)).via == "file:key"
    message = wrong(tmp_path, source.replace("file:key", "file:nokey"))[0]
    assert message.startswith("E125 lexgate.yaml:1:63 'backends.a.api_key.0': the file nokey cannot be read")


def test_secrets_are_shown_nowhere(tmp_path: Path) -> None:
    source = FULL.replace("sqlite:///var/lexgate.db", "postgresql://me:hunter2@db/x")
    source = source.replace('models: ["claude-*"]', "headers: {x-key: sk-header}")
    found = loaded(tmp_path, source, KEYS)
    rows = {each.path: f"{each.value} {each.layer}".replace(f"{tmp_path}/", "") for each in describe(found)}
    everything = repr(found) + str(found.settings) + json.dumps(rows)
    assert not [each for each in ("sk-one", "sk-two", "hunter2", "sk-header") if each in everything]
    assert rows["backends.openai.api_key"] == '["***"] lexgate.yaml:6:79 (${OPENAI_API_KEY})'
    assert rows["state"] == "postgresql://me:***@db/x lexgate.yaml:13:8"
    assert rows["backends.anthropic.headers.x-key"].startswith("*** ")
    with pytest.raises(TypeError):
        pickle.dumps(Secret("x"))


def test_describe_lists_every_setting_with_its_layer(tmp_path: Path) -> None:
    rows = {
        each.path: (each.value, str(each.layer))
        for each in describe(loaded(tmp_path, "", {"LEXGATE_LOG__LEVEL": "debug"}))
    }
    assert rows["log.level"] == ("debug", "LEXGATE_LOG__LEVEL")
    assert rows["server.max_body"] == ("32000000", "default")
    assert rows["packs"] == ("{}", "default")
    assert "base_dir" not in rows


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("server: {host: 0.0.0.0}\n", "E124 lexgate.yaml:1:16 personal mode has no keys, so it cannot listen on '0.0.0.0'"),
        ("server: {workers: 2}\nstate: memory://\n", "E124 lexgate.yaml:1:19 2 workers cannot share state in memory://"),
        ("state: mysql://x\n", "E124 lexgate.yaml:1:8 this is no store that can be used"),
        ("default_route: '@codin'\nroutes: {coding: 'sandbox:b'}\n", "E124 lexgate.yaml:1:16 there is no route 'codin'"),
        ("backends: {a: {protocol: openai}}\n", "E124 lexgate.yaml:1:15 backend 'a' needs an http:// or https:// URL"),
        ("backends: {a: {protocol: openai, base_url: 'ftp://h'}}\n",
         "E124 lexgate.yaml:1:44 backend 'a' needs an http:// or https:// URL"),
        ("backends: {a: {protocol: openai, base_url: 'http://h:99999'}}\n",
         "E124 lexgate.yaml:1:44 backend 'a' needs an http:// or https:// URL"),
        ("backends: {'a:b': {protocol: sandbox}}\n", "E124 lexgate.yaml:1:19 the name 'a:b' cannot be used in a route"),
        ("base_dir: /\n", "E120 lexgate.yaml:1:1 there is no setting 'base_dir'"),
    ],
)  # fmt: skip
def test_contradictions_are_refused(tmp_path: Path, source: str, expected: str) -> None:
    assert [each.split(" | ")[0] for each in wrong(tmp_path, source)] == [expected]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_personal_mode_listens_on_every_loopback(tmp_path: Path, host: str) -> None:
    assert loaded(tmp_path, f"server: {{host: '{host}'}}\n").settings.server.host == host


def test_team_mode_may_listen_everywhere_and_workers_share_a_store(tmp_path: Path) -> None:
    source = "server: {mode: team, host: 0.0.0.0, workers: 4}\nstate: redis://r\n"
    assert loaded(tmp_path, source).settings.server.workers == 4


def test_paths_start_from_the_folder_of_the_configuration(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "policies: ./p\n").settings
    assert settings.resolve(settings.policies[0].path) == tmp_path / "p"
    assert settings.resolve("/etc/x") == Path("/etc/x")


@pytest.mark.parametrize(("text", "count"), [(5, 5), ("10MB", 10**7), ("1 KiB", 1024), ("2gb", 2 * 10**9)])
def test_sizes(text: object, count: int) -> None:
    assert Size.parse(text) == count


@pytest.mark.parametrize(("text", "seconds"), [(5, 5.0), (0.5, 0.5), ("250ms", 0.25), ("5m", 300.0), ("1d", 86400.0)])
def test_lengths_of_time(text: object, seconds: float) -> None:
    assert Seconds.parse(text) == seconds


@pytest.mark.parametrize("value", [True, -1, "x", "10 parsecs", None])
def test_what_is_no_size_or_time_is_refused(value: object) -> None:
    for kind in (Size, Seconds):
        with pytest.raises(ValueError, match="Expected a"):
            kind.parse(value)


def test_secrets_compare_and_hide() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("ä") != Secret("b")
    assert (str(Secret("a")), repr(Secret("a"))) == ("***", "Secret('***')")
    assert str(SecretUrl("redis://:pw@h")) == "redis://:***@h"
    assert str(SecretUrl("postgresql://h/d?user=u&password=pw&sslmode=require")) == (
        "postgresql://h/d?user=u&password=***&sslmode=require"
    )


@pytest.mark.parametrize(
    ("source", "fine"),
    [
        (FULL, True),
        ("server: {port: '${PORT}'}\npolicies: ./p\npacks: {secrets: }\n", True),
        ("server: {prot: 1}\n", False),
        ("backends: {a: {base_url: x}}\n", False),
        ("server: {port: many}\n", False),
        ("log: {level: loud}\n", False),
    ],
)
def test_the_schema_judges_as_the_loader_does(tmp_path: Path, source: str, fine: bool) -> None:
    schema = settings_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    data = documents.load(source, "lexgate.yaml").data
    assert jsonschema.Draft202012Validator(schema).is_valid(data) is fine
    try:
        loaded(tmp_path, source, KEYS | {"PORT": "1"})
        assert fine
    except ConfigurationError:
        assert not fine


def test_every_setting_has_a_description_and_a_variable() -> None:
    rows = options()
    assert all(each.description for each in rows)
    found = {each.path: each for each in rows}
    assert found["server.port"].variable == "LEXGATE_SERVER__PORT"
    assert found["server.port"].default == "8000"
    assert found["backends.NAME.protocol"].required
    assert "base_dir" not in found
    assert len(rows) > 60
    schema = settings_schema()
    assert schema["properties"]["server"]["properties"]["port"]["default"] == 8000
    assert (
        schema["properties"]["server"]["properties"]["port"]["description"] == "Port to listen on; 0 takes a free one."
    )


def test_sections_are_values() -> None:
    assert Settings() == Settings()
    assert hash(Settings().server) == hash(Settings().server)


def test_the_committed_schema_is_that_of_the_model() -> None:
    committed = json.loads((resources.schemas_dir() / "config.schema.json").read_text("utf-8"))
    assert committed == settings_schema()


def test_a_section_stands_where_the_first_of_its_values_was_written(tmp_path: Path) -> None:
    """An unknown pack that only the environment switches on is said there, not at the defaults."""
    loaded = load_settings(None, {"LEXGATE_PACKS__SECRTS__MODE": "shadow"}, folder=tmp_path)
    assert str(loaded.layer(("packs", "secrts")).where) == "LEXGATE_PACKS__SECRTS__MODE"
    assert str(loaded.layer(("backends", "none")).where) == "default"


@pytest.mark.parametrize(
    ("route", "message", "help"),
    [
        ("locl:qwen", "there is no backend 'locl'", "did you mean 'local'?"),
        ("local:qwen|local:llama^local:x", "'|' and '^' do not mix in one route", ""),
        ("qwen", "'qwen' is not a leg", "a leg is backend:model"),
    ],
)
def test_a_route_that_leads_nowhere_is_refused_at_start(tmp_path: Path, route: str, message: str, help: str) -> None:
    """Found when the configuration is read, not by the first client that takes it."""
    file = tmp_path / "lexgate.yaml"
    backend = "backends:\n  local: {protocol: openai, base_url: http://127.0.0.1:1/v1, models: [x]}\n"
    file.write_text(f"{backend}routes:\n  coding: '{route}'\n")
    with pytest.raises(ConfigurationError) as refused:
        load_settings(file, {})
    (found,) = refused.value.diagnostics
    assert (found.code, found.where.line, found.message) == ("E124", 4, message)
    assert found.help.startswith(help)

"""Where policy files are found, and what surrounds them."""

from pathlib import Path

import pytest

from engine.diagnostics import ConfigurationError
from engine.model.effects import Block
from engine.policy.compile import compile_policies
from engine.policy.given import complete_event
from engine.policy.read import read_policy
from engine.policy.sources import (
    configurations,
    configured,
    find_sets,
    is_policy_file,
    judged_settings,
    pack_names,
    pack_source,
    policy_files,
    read_source,
)
from engine.policy.trial import judge
from engine.settings import load_settings

POLICY = "version: 1\npolicy: p\nrules: []\n"


def tree(root: Path, *files: str) -> Path:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(POLICY)
    return root


@pytest.mark.parametrize("name", ["a.yaml", "a.yml", "a-b.c.yaml"])
def test_policy_files(name: str) -> None:
    assert is_policy_file(name)


@pytest.mark.parametrize(
    "name", [".a.yaml", "a.yaml~", ".#a.yaml", "#a.yaml#", "a.yaml.swp", ".a.yaml.swp", "lexgate.yaml", "a.txt", "a"]
)
def test_what_is_no_policy_file(name: str) -> None:
    assert not is_policy_file(name)


def test_folders_are_searched_at_any_depth_in_order(tmp_path: Path) -> None:
    tree(tmp_path, "b.yaml", "a/c.yaml", "a/cases/x.yaml", ".git/x.yaml", "a/README.md")
    assert [str(each.relative_to(tmp_path)) for each in policy_files(tmp_path)] == ["a/c.yaml", "b.yaml"]


def test_a_file_is_taken_whatever_its_name(tmp_path: Path) -> None:
    tree(tmp_path, "odd.txt")
    assert policy_files(tmp_path / "odd.txt") == [tmp_path / "odd.txt"]


def test_what_stands_below_a_configuration_is_its_own(tmp_path: Path) -> None:
    tree(tmp_path, "loose.yaml", "examples/a/policies/p.yaml", "examples/a/docker-compose.yaml")
    (tmp_path / "examples/a/lexgate.yaml").write_text("policies: [./policies]\n")
    assert list(configurations(tmp_path)) == [tmp_path / "examples/a/lexgate.yaml"]
    loose, example = find_sets([tmp_path], {})
    assert [each.file for each in loose.sources] == [str(tmp_path / "loose.yaml")]
    assert [each.file for each in example.sources] == [str(tmp_path / "examples/a/policies/p.yaml")]
    assert loose.catalogue.backends is None
    assert example.catalogue.backends == ("sandbox",)


def test_a_source_has_the_grant_that_the_configuration_gives(tmp_path: Path) -> None:
    tree(tmp_path, "teams/p.yaml")
    config = tmp_path / "lexgate.yaml"
    config.write_text("policies: [{path: teams, scope: {team: payments}, max_priority: 50, actions: [notify]}]\n")
    (source,) = configured(judged_settings(config, {})).sources
    assert source.grant.scope is not None
    assert source.grant.scope.team == ["payments"]
    assert source.grant.max_priority == 50
    assert source.grant.actions == ("notify",)
    (named,) = find_sets([tmp_path / "teams" / "p.yaml"], {}, config)
    assert named.sources[0].grant == source.grant


def test_packs_come_with_their_overrides(tmp_path: Path) -> None:
    name = pack_names()[0]
    config = tmp_path / "lexgate.yaml"
    config.write_text(f"packs:\n  {name}: {{mode: shadow, scope: {{team: a}}}}\n")
    (source,) = configured(judged_settings(config, {})).sources
    assert source.overrides == {"mode": "shadow", "scope": {"team": ["a"]}}
    shipped = pack_source(name)
    assert shipped is not None
    assert source.text == shipped.text


@pytest.mark.parametrize(
    ("settings", "code", "line"),
    [
        ("packs: {nosuchpack: {}}", "E152", 1),
        ("policies: [nowhere]", "E150", 1),
        ("log: {level: info}\npolicies: [empty]", "W151", 2),
    ],
)
def test_a_source_that_gives_nothing_is_said_at_its_place(tmp_path: Path, settings: str, code: str, line: int) -> None:
    (tmp_path / "empty").mkdir()
    config = tmp_path / "lexgate.yaml"
    config.write_text(settings)
    (found,) = configured(judged_settings(config, {})).diagnostics
    assert (found.code, found.where.file, found.where.line) == (code, str(config), line)


def test_a_configuration_is_judged_without_the_keys_that_it_refers_to(tmp_path: Path) -> None:
    config = tmp_path / "lexgate.yaml"
    config.write_text(
        'backends: {a: {protocol: openai, base_url: "${URL}", api_key: "${KEY}", models: ["${M:-gpt-*}"]}}\n'
    )
    settings = judged_settings(config, {}).settings
    assert settings.backends["a"].models == ("gpt-*",)


def test_bytes_that_are_not_utf8_can_be_digested_and_are_refused_by_the_reader(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"version: 1\npolicy: \xff\n")
    source = read_source(file)
    assert len(source.digest) == 64
    (loose,) = find_sets([file], {})
    assert loose.sources[0].text == "version: 1\npolicy: \ufffe\n"
    (said,) = read_policy(loose.sources[0].text, "a.yaml").diagnostics
    assert (str(said.where), said.message) == ("a.yaml:2:9", "this file is not UTF-8")


PACK = """\
version: 1
policy: guard
sets: {words: [a, b]}
rules:
  - {id: stop, phase: request, when: "contains(set('words'), request.model)", actions: [block: "Ours.", log: x]}
  - {id: note, phase: request, actions: [log: y]}
"""


@pytest.fixture
def packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped packs with one, `guard`."""
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / "guard.yaml").write_text(PACK)
    monkeypatch.setattr("engine.resources.packs_dir", lambda: tmp_path / "shipped")
    return tmp_path


def test_a_pack_takes_sets_and_messages_of_the_configuration(packs: Path) -> None:
    config = packs / "lexgate.yaml"
    config.write_text("packs: {guard: {sets: {words: [m]}, messages: {stop: Theirs.}}}\n")
    found = configured(judged_settings(config, {}))
    assert found.diagnostics == ()
    compiled = compile_policies(found.sources)
    assert compiled.ruleset is not None
    decision = judge(compiled.ruleset, complete_event({"request": {"model": "m"}}))
    assert decision.effect == Block("Theirs.")
    assert [each.actions for each in decision.outcomes if each.rule == "guard/stop"] == [("block", "log")]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sets: {wrds: [m]}", "pack 'guard' has no set 'wrds'"),
        ("messages: {note: x}", "pack 'guard' has no rule with a message 'note'"),
    ],
)
def test_an_override_of_what_a_pack_does_not_have_is_an_error_at_its_place(
    packs: Path, override: str, message: str
) -> None:
    config = packs / "lexgate.yaml"
    config.write_text(f"packs:\n  guard:\n    {override}\n")
    (found,) = configured(judged_settings(config, {})).diagnostics
    assert (found.code, found.message, found.where.line) == ("E154", message, 3)


def test_a_configuration_is_judged_without_the_files_of_its_secrets(tmp_path: Path) -> None:
    """They lie where it is served, not where it is written."""
    file = tmp_path / "lexgate.yaml"
    file.write_text('backends: {a: {protocol: openai, base_url: "http://a.invalid", api_key: "file:/nowhere/key"}}')
    assert judged_settings(file, {}).settings.backends["a"].api_key
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings(file, {})


def test_a_configuration_is_judged_without_the_variable_of_its_store(tmp_path: Path) -> None:
    file = tmp_path / "lexgate.yaml"
    file.write_text('state: "${STORE}"')
    assert judged_settings(file, {}).settings.state.reveal().startswith("postgresql://")

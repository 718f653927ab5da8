"""The estimate of a request's tokens, and how it learns."""

import hashlib
import random
from pathlib import Path

import msgspec
import pytest

from engine.model.exchange import Exchange, Media, Message, Part, Protocol, Tool, ToolCall, Usage
from engine.world.estimates import CHARGES, EVERY, MODELS, SETTLED, Estimates, byte_length, weighed
from engine.world.tokenizers import VOCABULARIES, Tokenizers, open_tokenizers

WORDS = "the quick brown fox jumps over the lazy dog and runs away "


def asking(text: str = WORDS * 20, model: str = "m", **more: object) -> Exchange:
    message = Message(role="user", parts=(Part(kind="text", text=text),))
    return Exchange(
        id="e",
        protocol=Protocol.OPENAI_CHAT,
        model=model,
        stream=False,
        **{"messages": (message,), **more},  # type: ignore[arg-type]
    )


def test_four_bytes_are_a_token_before_anything_is_known() -> None:
    assert Estimates().tokens(asking("x" * 400)) == 100 + 4 + 3


def test_bytes_count_and_not_characters() -> None:
    """A Chinese character is three bytes of UTF-8, and nearly a token."""
    assert Estimates().tokens(asking("中" * 400)) == 300 + 4 + 3


def test_a_lone_surrogate_is_counted_like_the_rest() -> None:
    assert byte_length("\ud800x") == 4


def test_calls_and_tools_with_their_schemas_are_part_of_the_input() -> None:
    call = ToolCall(id="c", name="bash", arguments='{"command":"ls"}')
    schema = {"type": "object"}
    exchange = asking(
        messages=(Message(role="assistant", tool_calls=(call,)),),
        tools=(Tool(name="bash", description="Runs.", schema=schema),),
    )
    texts = ("bash", '{"command":"ls"}', "bash", "Runs.", '{"type":"object"}')
    assert weighed(exchange, len).text == sum(len(text) for text in texts)


def test_an_image_has_a_stated_charge() -> None:
    image = Part(kind="image", media=Media(data="A" * 100_000))
    exchange = asking(messages=(Message(role="user", parts=(image,)),))
    assert Estimates().tokens(exchange) == CHARGES["image"] + 4 + 3


@pytest.mark.parametrize("real", [2.0, 3.3, 5.5])
def test_the_ratio_of_a_model_is_learned_from_its_reports(real: float) -> None:
    estimates = Estimates()
    chance = random.Random(7)
    for _ in range(40):
        asked = asking(WORDS * chance.randint(10, 40))
        noise = chance.uniform(0.95, 1.05)
        estimates.learn(asked, Usage(input=round(byte_length(asked.messages[0].text) / real * noise) + 7))
    assert estimates.ratio("m") == pytest.approx(real, rel=0.05)
    assert estimates.ratio("another") == 4.0


def test_a_report_that_is_no_count_of_the_input_moves_nothing() -> None:
    estimates = Estimates()
    asked = asking()
    for usage in (
        None,
        Usage(input=0, output=5),
        Usage(input=20, cached=280),  # the cached part stands beside the input
        Usage(input=40),  # what is cached was left out, and is not reported either
        Usage(input=10**6),
    ):
        estimates.learn(asked, usage)
    estimates.learn(asking("short"), Usage(input=50))
    assert estimates.ratio("m") == 4.0


def test_one_report_cannot_carry_the_ratio_away() -> None:
    estimates = Estimates()
    for _ in range(30):
        estimates.learn(asking(), Usage(input=307))  # 1180 bytes: about 3.9
    before = estimates.ratio("m")
    estimates.learn(asking(), Usage(input=110))  # 11.5
    assert before < estimates.ratio("m") < before * 1.2


def test_a_request_with_an_image_teaches_nothing() -> None:
    estimates = Estimates()
    parts = (Part(kind="text", text=WORDS * 20), Part(kind="image"))
    estimates.learn(asking(messages=(Message(role="user", parts=parts),)), Usage(input=700))
    assert estimates.ratio("m") == 4.0


def test_of_a_settled_model_few_requests_are_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    weighings = 0

    def counting(exchange: Exchange, size: object) -> object:
        nonlocal weighings
        weighings += 1
        return weighed(exchange, size)  # type: ignore[arg-type]

    monkeypatch.setattr("engine.world.estimates.weighed", counting)
    estimates = Estimates()
    for _ in range(SETTLED + 10 * EVERY):
        estimates.learn(asking(), Usage(input=300))
    assert weighings == SETTLED + 10


def test_the_models_that_are_remembered_have_a_bound() -> None:
    estimates = Estimates()
    report = Usage(input=600)
    for number in range(MODELS):
        estimates.learn(asking(model=f"m{number}"), report)
    estimates.learn(asking(model="m0"), report)  # heard of again
    estimates.learn(asking(model="new"), report)
    assert estimates.ratio("m0") != 4.0
    assert estimates.ratio("m1") == 4.0


def test_a_name_that_chooses_the_backend_has_the_ratio_of_its_model() -> None:
    estimates = Estimates()
    estimates.learn(asking(model="gpt-x"), Usage(input=600))
    assert estimates.ratio("backend:gpt-x") == estimates.ratio("gpt-x") != 4.0


class Letters:
    """An encoding whose tokens are letters."""

    def encode_ordinary(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]


def test_a_models_own_tokenizer_counts_its_text_exactly() -> None:
    estimates = Estimates(Tokenizers({"o200k_base": Letters()}))  # type: ignore[dict-item]
    long = "x" * 50_001
    assert estimates.tokens(asking(long, model="gpt-5-mini")) == 50_001 + 7
    assert estimates.tokens(asking(long, model="openai/gpt-4o")) == 50_001 + 7
    assert estimates.tokens(asking("x" * 400, model="claude-sonnet-4-5")) == round(400 / 3.6) + 7


def test_without_a_folder_of_vocabularies_no_tokenizer_is_opened() -> None:
    assert open_tokenizers({})("gpt-4o") is None


def test_a_vocabulary_that_is_not_the_published_one_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tiktoken would fetch it anew; nothing is fetched here."""
    url, _ = VOCABULARIES["o200k_base"]
    (tmp_path / hashlib.sha1(url.encode()).hexdigest()).write_bytes(b"IQ== 0\n")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("tiktoken.get_encoding", lambda name: pytest.fail(f"{name} was asked for"))
    assert open_tokenizers()("gpt-4o") is None


def test_a_vocabulary_on_disk_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, _ = VOCABULARIES["cl100k_base"]
    data = b"IQ== 0\n"
    (tmp_path / hashlib.sha1(url.encode()).hexdigest()).write_bytes(data)
    known = {"cl100k_base": (url, hashlib.sha256(data).hexdigest())}
    monkeypatch.setattr("engine.world.tokenizers.VOCABULARIES", known)
    monkeypatch.setattr("tiktoken.get_encoding", lambda _name: Letters())
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    count = open_tokenizers()("gpt-4-turbo")
    assert count is not None
    assert count("four") == 4


def test_the_estimate_is_the_same_for_an_exchange_of_any_protocol() -> None:
    asked = asking()
    counts = {Estimates().tokens(msgspec.structs.replace(asked, protocol=protocol)) for protocol in Protocol}
    assert len(counts) == 1

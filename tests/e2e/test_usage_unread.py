"""What is billed for streams that no rule reads, as the metrics of the process show it."""

from tests.support.anthropic_mock import AnthropicMock, Text, reply
from tests.support.lexgate import Lexgate

from .conftest import Serve
from .test_metrics import counted

SAID = {"model": "claude-opus-4-7", "max_tokens": 64, "stream": True, "messages": [{"role": "user", "content": "Go."}]}


def served(serve: Serve, messages: AnthropicMock) -> Lexgate:
    backend = {"protocol": "anthropic", "base_url": messages.base_url, "api_key": "key", "models": ["*"]}
    return serve(settings={"backends": {"anthropic": backend}})


def test_the_input_of_a_long_stream_of_anthropics_is_counted(serve: Serve) -> None:
    """It is said in the first event alone, which has long gone by when the last one comes."""
    with AnthropicMock(reply(Text("word " * 3_000), late_input=False, usage=(900, 3_000, 50, 0))) as messages:
        lexgate = served(serve, messages)
        assert lexgate.post(SAID, "/v1/messages").status == 200
        used = {labels: count for labels, count in counted(lexgate, "lexgate_tokens_total").items() if count}
    assert sorted(used.values()) == [950, 3_000]

"""The decoder hears the same events wherever the network cuts the bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.codecs.base import BadAnswer
from engine.codecs.sse import Decoder, encode_comment, encode_event

WIRES = {
    "lf": (b'data: {"a":1}\n\n: wait\n\ndata: [DONE]\n\n', [b'{"a":1}', None, b"[DONE]"]),
    "crlf": (b"data: a\r\n\r\nevent: e\r\ndata: b\r\ndata: c\r\n\r\n", [b"a", b"b\nc"]),
    "cr": (b"data: a\r\rdata:b\r\rdata:  c\r\r", [b"a", b"b", b" c"]),
    "mixed": (b"data: a\n\r\ndata: b\r\n\ndata: c\r\n\rdata: d\n\n", [b"a", b"b", b"c", b"d"]),
    "bom": (b"\xef\xbb\xbfdata: a\n\ndata: b\n\n", [b"a", b"b"]),
    "other fields": (b"id: 1\nretry: 3\ndata: a\nfoo\n\ndata\n\n", [b"a", b""]),
    "a line end that is none": ("data: a\u2028b\x85\n\n".encode(), ["a\u2028b\x85".encode()]),
}


def heard(decoder: Decoder, *pieces: bytes) -> tuple[list[bytes | None], bytes]:
    events = [event for piece in pieces for event in decoder.feed(piece)] + decoder.close()
    return [event.data for event in events], b"".join(event.raw for event in events)


@pytest.mark.parametrize("name", WIRES)
def test_it_does_not_matter_where_the_bytes_were_cut(name: str) -> None:
    wire, data = WIRES[name]
    whole = Decoder()
    raws = [event.raw for event in [*whole.feed(wire), *whole.close()]]
    for cut in range(len(wire) + 1):
        decoder = Decoder()
        events = [*decoder.feed(wire[:cut]), *decoder.feed(wire[cut:]), *decoder.close()]
        assert [event.data for event in events] == data, cut
        assert [event.raw for event in events] == raws, cut
    assert heard(Decoder(), *(wire[i : i + 1] for i in range(len(wire)))) == (data, wire)


@given(st.lists(st.sampled_from([b"data: a\n", b"data:b\r\n", b"\n", b"\r", b"\r\n", b": c\n", b"event: x\r", b"d"])))
def test_no_byte_is_lost_and_cuts_do_not_matter(pieces: list[bytes]) -> None:
    wire = b"".join(pieces)
    whole, by_byte = Decoder(), Decoder()
    one = [*whole.feed(wire), *whole.close()]
    many = [event for i in range(len(wire)) for event in by_byte.feed(wire[i : i + 1])] + by_byte.close()
    assert [event.data for event in one if event.data is not None] == [e.data for e in many if e.data is not None]
    assert b"".join(event.raw for event in one).startswith(wire.rstrip(b"\r\n"))


def test_an_event_has_its_name() -> None:
    assert Decoder().feed(b"event: error\ndata: {}\n\n")[0].name == b"error"


def test_what_has_no_blank_line_at_the_end_is_given_one() -> None:
    decoder = Decoder()
    assert decoder.feed(b"data: [DONE]\n") == []
    event = decoder.close()[0]
    assert (event.data, event.raw) == (b"[DONE]", b"data: [DONE]\n\n")


def test_an_event_without_end_is_refused_before_it_fills_the_memory() -> None:
    decoder = Decoder(limit=100)
    decoder.feed(b"data: " + b"x" * 90)
    with pytest.raises(BadAnswer, match="larger than 100 bytes"):
        decoder.feed(b"x" * 90)


@pytest.mark.parametrize("data", [b"{}", b"a\nb", b""])
@pytest.mark.parametrize("name", ["", "error"])
def test_what_is_encoded_is_decoded(data: bytes, name: str) -> None:
    event = Decoder().feed(encode_event(data, name))[0]
    assert (event.data, event.name) == (data, name.encode())


def test_a_comment_is_no_event_of_its_own() -> None:
    assert [event.data for event in Decoder().feed(encode_comment("wait") + encode_event(b"{}"))] == [b"{}"]

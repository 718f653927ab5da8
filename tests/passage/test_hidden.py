"""Where hidden turns are kept, and where they are put back."""

from engine.model.exchange import Exchange, Message, Part, Protocol, ToolCall
from engine.passage.hidden import HiddenTurn, kept, key_of, keys_in, put_back, refused_turn

CHAT = Protocol.OPENAI_CHAT
CALL = ToolCall(id="call_1", name="bash", arguments='{"command":"rm"}')
TURN = refused_turn("I clean up.", (), [(CALL, "Do not.")])


def message(role: str, text: str, *calls: ToolCall) -> Message:
    return Message(role=role, parts=(Part(kind="text", text=text),) if text else (), tool_calls=calls)


def exchange(*messages: Message) -> Exchange:
    return Exchange(id="1", protocol=Protocol.OPENAI_CHAT, model="m", stream=False, messages=messages, body=b"{}")


ASKED = message("user", "Tidy.")
ANSWER = message("assistant", "I clean up.\n\nListing.")


def test_a_turn_is_kept_for_one_caller_one_question_and_one_answer() -> None:
    keys = {
        key_of("anna", ASKED, ANSWER.text, (), CHAT),
        key_of("bert", ASKED, ANSWER.text, (), CHAT),
        key_of("anna", message("user", "Else."), ANSWER.text, (), CHAT),
        key_of("anna", ASKED, "Else.", (), CHAT),
        key_of("anna", ASKED, ANSWER.text, (CALL,), CHAT),
    }
    assert len(keys) == 5
    assert key_of("anna", ASKED, ANSWER.text + " ", (), CHAT) in keys, "clients trim"


def test_a_turn_of_gemini_is_found_whatever_ids_the_client_gave_its_calls() -> None:
    renamed = ToolCall(id="bash_17_0", name=CALL.name, arguments=CALL.arguments)
    assert key_of("anna", ASKED, "", (renamed,), Protocol.GEMINI) == key_of("anna", ASKED, "", (CALL,), Protocol.GEMINI)
    assert key_of("anna", ASKED, "", (renamed,), CHAT) != key_of("anna", ASKED, "", (CALL,), CHAT)


def test_the_turn_stands_before_its_answer_which_keeps_its_own_words_alone() -> None:
    turn = kept(HiddenTurn(TURN, "I clean up.\n\n", "Listing."))
    full = put_back(exchange(ASKED, ANSWER), {1: turn})
    assert [(each.role, each.text) for each in full.messages] == [
        ("user", "Tidy."),
        ("assistant", "I clean up."),
        ("tool", "Do not."),
        ("assistant", "Listing."),
    ]
    assert full.body is None


def test_nothing_found_leaves_the_request_as_it_came() -> None:
    asked = exchange(ASKED, ANSWER)
    assert put_back(asked, {}) is asked


def test_answers_are_known_by_their_order_when_rules_add_messages_and_rewrite_answers() -> None:
    rewritten = message("assistant", "Something else.")
    keys = keys_in((ASKED, ANSWER), (message("system", "Brief."), ASKED, rewritten), "anna", CHAT)
    assert keys == {2: key_of("anna", ASKED, ANSWER.text, (), CHAT)}


def test_of_a_history_with_fewer_answers_those_are_known_that_no_rule_touched() -> None:
    second = message("assistant", "Bye.")
    keys = keys_in((ASKED, ANSWER, ASKED, second), (ASKED, second), "anna", CHAT)
    assert keys == {1: key_of("anna", ASKED, "Bye.", (), CHAT)}

"""What the LLM is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kame_core.backend.base import ChatMessage, ToolCall
from kame_core.backend.prompt import PromptContext, build_messages


def user(content: str) -> ChatMessage:
    return ChatMessage("user", content)


def agent(content: str) -> ChatMessage:
    return ChatMessage("assistant", content)


def test_roles_are_real_and_the_words_of_the_user_stand_alone() -> None:
    history = (user("Hello there."), agent("Hello, how can I help?"))
    messages = build_messages(PromptContext(history=history), " What is the capital of France? ", True)
    assert [message.role for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[1:3] == history
    assert messages[-1] == user("What is the capital of France?")


def test_the_persona_asks_for_speech() -> None:
    system = build_messages(PromptContext(), "hi", True)[0].content
    for demand in ("KAME", "thirty words", "periods and commas only", "English"):
        assert demand in system


def test_an_unfinished_turn_is_marked_as_such() -> None:
    partial, whole = (build_messages(PromptContext(), "what is the", complete)[0].content for complete in (False, True))
    assert "still speaking" in partial
    assert "still speaking" not in whole
    assert "finished speaking" in whole


def test_spoken_words_are_given_to_be_continued() -> None:
    context = PromptContext(spoken_this_turn=" Let  me\nsee. ")
    system = build_messages(context, "what is two plus two", True)[0].content
    assert "«Let me see.»" in system
    assert "only the words that come directly after" in system
    assert "«" not in build_messages(PromptContext(), "what is two plus two", True)[0].content


def test_utterance_style_asks_for_the_whole_next_utterance() -> None:
    context = PromptContext(style="utterance", spoken_this_turn="Well, it is")
    system = build_messages(context, "what is two plus two", False)[0].content
    assert "whole next utterance" in system
    assert "«Well, it is»" in system
    assert "only the words that come directly after" not in system


def test_instructions_time_and_language_are_said() -> None:
    history = (ChatMessage("system", "The user is called Ada."), user("hi"), agent("Hello."))
    context = PromptContext("Talk like a pirate.", "de-AT", history=history, now="Monday, the third of May, noon")
    messages = build_messages(context, "wie geht's", True)
    for told in ("Talk like a pirate.", "The user is called Ada.", "German", "Monday, the third of May, noon"):
        assert told in messages[0].content
    assert all(message.role != "system" for message in messages[1:])


def test_no_language_leaves_the_choice_to_the_user() -> None:
    assert "another language" not in build_messages(PromptContext(language=""), "hi", True)[0].content


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ((), [user("Hello.")]),
        ((user("Tell me a joke."),), [user("Tell me a joke.")]),
        ((user("Hi."), agent("One moment")), [user("Hi."), agent("One moment"), user("Please go on.")]),
    ],
)
def test_speaking_unasked(history: tuple[ChatMessage, ...], expected: list[ChatMessage]) -> None:
    assert list(build_messages(PromptContext(history=history), " ", True)[1:]) == expected


def test_neighbours_of_one_role_are_joined_and_the_user_comes_first() -> None:
    history = (agent("Welcome."), user("One."), user("Two."), agent(" "), user("Three."), agent("Yes."), agent("No."))
    messages = build_messages(PromptContext(history=history), "Four.", True)[1:]
    assert list(messages) == [
        user("Hello."),
        agent("Welcome."),
        user("One.\nTwo.\nThree."),
        agent("Yes.\nNo."),
        user("Four."),
    ]


def test_history_is_trimmed_by_whole_turns_from_the_oldest() -> None:
    history = tuple(message for n in range(50) for message in (user(f"Question {n} " + "x" * 90), agent("y" * 100)))
    bare = len(build_messages(PromptContext(), "last", True)[0].content)
    messages = build_messages(PromptContext(history=history), "last", True, max_chars=bare + 650)
    assert messages[1].content.startswith("Question 47")
    assert len(messages) == 1 + 3 * 2 + 1
    assert messages[-1] == user("last")


def test_the_users_words_stay_even_beyond_the_budget_and_keep_their_end() -> None:
    messages = build_messages(
        PromptContext(history=(user("a"), agent("b"))), "x" * 9000 + " the end", True, max_chars=10
    )
    assert len(messages) == 2
    assert messages[-1].content.endswith(" the end")
    assert len(messages[-1].content) == 4000


def call(call_id: str) -> ChatMessage:
    return ChatMessage("assistant", "", (ToolCall(call_id, "look", '{"where": "here"}'),))


def result(call_id: str, content: str = "sunny") -> ChatMessage:
    return ChatMessage("tool", content, call_id=call_id)


def test_tools_are_explained_where_they_are_offered_for_a_whole_turn() -> None:
    assert "Call a tool only if" in build_messages(PromptContext(tools=True), "hi", True)[0].content
    assert "Call a tool" not in build_messages(PromptContext(tools=True), "hi", False)[0].content
    assert "Call a tool" not in build_messages(PromptContext(), "hi", True)[0].content


def test_calls_and_results_stay_as_they_are_and_need_no_cue() -> None:
    history = (user("Weather?"), agent("Let me look."), call("a"), result("a"), call("b"), result("b", "x" * 9000))
    messages = build_messages(PromptContext(history=history), "", True)
    spoken_and_called = ChatMessage("assistant", "Let me look.", call("a").tool_calls)
    assert messages[1:] == (
        user("Weather?"),
        spoken_and_called,
        result("a"),
        call("b"),
        result("b", "x" * 8000 + " (cut here)"),
    )
    later = build_messages(PromptContext(history=(*history, agent("It is sunny."))), "Thanks.", True)
    assert later[1:5] == messages[1:5]
    assert later[5:] == (result("b", "x" * 1000 + " (cut here)"), agent("It is sunny."), user("Thanks."))


def test_an_empty_result_is_a_result() -> None:
    messages = build_messages(PromptContext(history=(user("Off!"), call("a"), result("a", ""))), "", True)
    assert messages[-1] == result("a", "")


def test_what_tools_did_for_the_words_is_known_when_they_are_asked_again() -> None:
    context = PromptContext(history=(user("Hi."), agent("Hello.")), tools_used=(call("a"), result("a", "ordered")))
    messages = build_messages(context, "Order one.", True)
    assert messages[3:] == (user("Order one."), call("a"), result("a", "ordered"))


def test_calls_are_trimmed_with_their_turn() -> None:
    history = (user("Weather?"), call("a"), result("a", "x" * 500), agent("Sunny."), user("Thanks."), agent("Bye."))
    bare = len(build_messages(PromptContext(), "last", True)[0].content)
    messages = build_messages(PromptContext(history=history), "last", True, max_chars=bare + 300)
    assert [message.role for message in messages] == ["system", "user", "assistant", "user"]


@given(
    st.lists(
        st.builds(ChatMessage, st.sampled_from(["system", "user", "assistant"]), st.text(max_size=30)), max_size=30
    ),
    st.text(max_size=30),
    st.booleans(),
    st.integers(0, 4000),
)
def test_the_form_holds_for_any_history(history: list[ChatMessage], words: str, complete: bool, max_chars: int) -> None:
    messages = build_messages(PromptContext(history=tuple(history)), words, complete, max_chars=max_chars)
    roles = [message.role for message in messages]
    assert roles[0] == "system"
    assert roles[1:] == ["user", "assistant"] * (len(roles) // 2 - 1) + ["user"]
    assert all(message.content for message in messages)

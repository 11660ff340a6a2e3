"""What must hold of every conversation, whatever happened in it."""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

from kame_core.asides import MOST_ASIDES
from kame_core.events import (
    AsideCalled,
    AsideEnded,
    AsideStarted,
    AsideText,
    CandidateAdopted,
    CandidateSuperseded,
    Event,
    FinalTranscript,
    ItemAdded,
    ItemDeleted,
    ResponseEnded,
    ResponseStarted,
    ResponseText,
    SpeechStarted,
    SpeechStopped,
    UserTurnCommitted,
    UserTurnDropped,
    VoiceStarted,
    VoiceStopped,
)
from kame_core.frontend.base import Floor
from kame_core.owed import Owed
from tests.support.random_talk import ANSWER, QUESTION
from tests.support.studio import Studio


@contextmanager
def no_errors_logged() -> Iterator[None]:
    """What the engine survives by logging it is a fault here."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = records.append  # type: ignore[method-assign,assignment]
    logging.getLogger("kame_core").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("kame_core").removeHandler(handler)
    assert not records, [record.getMessage() for record in records]


def check_asides(events: list[Event]) -> None:
    """Each text beside the dialogue has one beginning, one end and nothing after it, and ends with all its words."""
    open_texts: dict[str, str] = {}
    for event in events:
        match event:
            case AsideStarted():
                assert event.response_id not in open_texts
                open_texts[event.response_id] = ""
            case AsideText():
                open_texts[event.response_id] += event.delta
            case AsideCalled():
                assert event.response_id in open_texts
            case AsideEnded():
                assert open_texts.pop(event.response_id) == event.text
        assert len(open_texts) <= MOST_ASIDES


def check_responses(events: list[Event], whole: bool) -> None:
    """One response at a time, each with one end and nothing after it; what was heard is what had been said."""
    open_id: str | None = None
    voice = False
    said = ""
    seen: set[str] = set()
    for event in events:
        match event:
            case ResponseStarted():
                assert open_id is None, "two responses are open"
                assert event.response_id not in seen
                seen.add(event.response_id)
                open_id, voice, said = event.response_id, False, ""
            case ResponseText():
                assert event.response_id == open_id
                said += event.delta
            case VoiceStarted():
                assert event.response_id == open_id
                assert not voice
                voice = True
            case VoiceStopped():
                assert event.response_id == open_id
                assert voice
                voice = False
            case ResponseEnded():
                assert event.response_id == open_id
                assert not voice, "the voice of an ended response was not stopped"
                open_id = None
                heard = event.text.split()
                for words in (said.split(), event.generated.split()):
                    if whole:
                        assert words[: len(heard)] == heard
                    else:  # words may be missing where nobody listened
                        rest = iter(words)
                        assert all(word in rest for word in heard)
    assert open_id is None, "a response was never ended"


def check_user(events: list[Event]) -> None:
    """What the user began became one turn or none; a committed turn has one transcript."""
    spoken = [event for event in events if isinstance(event, SpeechStarted | SpeechStopped)]
    for before, after in pairwise(spoken):  # who goes on before the turn is final starts again
        same = before.item_id == after.item_id
        assert isinstance(after, SpeechStopped) is (same and isinstance(before, SpeechStarted))
    started = list(dict.fromkeys(event.item_id for event in spoken))
    committed = [event.item_id for event in events if isinstance(event, UserTurnCommitted)]
    final = [event.item_id for event in events if isinstance(event, FinalTranscript)]
    dropped = [event.item_id for event in events if isinstance(event, UserTurnDropped)]
    ends = Counter([*final, *dropped])
    assert max(Counter([*started, *committed]).values(), default=0) <= 2
    assert len(set(committed)) == len(committed)
    assert all(count == 1 for count in ends.values())
    assert set(started) <= set(ends), "a turn never ended"
    assert set(final) <= set(committed)
    assert set(committed) <= set(ends)
    for event in events:
        if isinstance(event, FinalTranscript):
            begun = next(index for index, other in enumerate(events) if _is_commit_of(other, event.item_id))
            assert begun < events.index(event)


def _is_commit_of(event: Event, item_id: str) -> bool:
    return isinstance(event, UserTurnCommitted) and event.item_id == item_id


def check_oracle(events: list[Event]) -> None:
    """One candidate is read at a time."""
    adopted: str | None = None
    for event in events:
        match event:
            case CandidateAdopted():
                assert adopted is None
                adopted = event.candidate_id
            case CandidateSuperseded():
                assert adopted == event.candidate_id
                adopted = None


def check_order(studio: Studio) -> None:
    """The dialogue is in the order that was announced."""
    order: list[str] = []
    for event in studio.events:
        match event:
            case UserTurnCommitted() | ResponseStarted() | ItemAdded():
                assert event.previous_item_id == (order[-1] if order else None)
                order.append(event.item_id)
            case ItemDeleted():
                order.remove(event.item_id)
    assert [item.id for item in studio.conversation.transcript.items()] == order


def state_of(studio: Studio) -> dict[str, object]:
    """What is not at rest."""
    conversation = studio.conversation
    agent, user = conversation._agent, conversation._user
    state = {
        "response": agent.response,
        "floor": None if agent.state.floor is Floor.LISTEN else agent.state.floor,
        "active": conversation._answering.active,
        "busy": conversation._answering.busy,
        "turn": user.in_turn,
        "awaits final": user.awaits_final,
        "phase": None if user.turns.phase.value == "silent" else user.turns.phase,
        "voice": conversation.playout.voiced,
        "ducked": conversation.playout._target_gain != 1.0,
        "owed": None if conversation._owed == Owed() else conversation._owed,
        "demanded": conversation._demanded is not None,
        "beside": conversation._beside,
    }
    return {name: value for name, value in state.items() if value}


async def come_to_rest(studio: Studio) -> None:
    """Listen until everything is at rest; an answer may take its time, silence may not last longer than 30 s."""
    silent_s = 0.0
    while silent_s < 30.0:
        await studio.listen(0.5)
        silent_s = silent_s + 0.5 if studio.level_at(len(studio.heard) * 20 - 500, len(studio.heard) * 20) < -90 else 0
        if not state_of(studio) and silent_s >= 2.0:
            return
    raise AssertionError(f"stuck: {state_of(studio)}")


def check_floor(studio: Studio) -> None:
    """Nothing is spoken while the user has the floor."""
    agent = studio.conversation._agent
    if agent.state.floor is Floor.LISTEN:
        assert not studio.conversation.playout.voiced
    assert not studio.conversation.closed


def check_last_turn(events: list[Event], to_be_answered: set[str]) -> None:
    """A turn after which the user was silent was answered, were it by saying that nothing is known."""
    last = next((event for event in reversed(events) if isinstance(event, FinalTranscript | SpeechStarted)), None)
    if isinstance(last, FinalTranscript) and last.item_id in to_be_answered:
        committed = next(index for index, event in enumerate(events) if _is_commit_of(event, last.item_id))
        later = [event for event in events[committed:] if isinstance(event, ResponseStarted)]
        assert later, "a turn was not answered"


def check_ordinary(events: list[Event]) -> None:
    """A plain question, after all that, is answered."""
    committed = next(index for index, event in enumerate(events) if isinstance(event, UserTurnCommitted))
    started = next(index for index, event in enumerate(events) if isinstance(event, ResponseStarted))
    ended = [event for event in events if isinstance(event, ResponseEnded)]
    final = [event for event in events if isinstance(event, FinalTranscript)]
    assert committed < started
    assert [event.text for event in final] == [QUESTION]
    assert ended[-1].status == "completed"
    assert ended[-1].text.endswith(ANSWER)

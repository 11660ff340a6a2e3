"""Random conversations in virtual time: whatever people, models and networks do, no turn gets stuck or lost.

`KAME_FUZZ_EXAMPLES` and `KAME_FUZZ_SEED` make it run longer and elsewhere than the few fixed examples of a default run.
"""

import functools
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from kame_core.audio import SAMPLE_RATE_HZ, Samples
from kame_core.backend.base import ChatRequest, Finish
from kame_core.errors import ChatModelError, InvalidRequestError
from kame_core.events import (
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
    Trouble,
    UserTurnCommitted,
    UserTurnDropped,
    VoiceStarted,
    VoiceStopped,
)
from kame_core.frontend.base import Floor, SlotOutput
from kame_core.options import ConversationOptions, Mode, TurnDetection
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.speech import say
from tests.support.studio import Studio, in_studio

EXAMPLES = int(os.environ.get("KAME_FUZZ_EXAMPLES", "25"))
SEED = os.environ.get("KAME_FUZZ_SEED")

QUESTION = "what is the capital of france"
ANSWER = "Paris is the capital of France."
CLIPS = ("ah", "aha", "stop", QUESTION, "tell me something long about the earth and the moon and all the planets")
LINES = ("", "mm-hm", "stop", "and what about", "tell me about the earth", QUESTION, "i like rainy days very much")
LONG = "There are seven continents and five oceans, and the largest of them is the Pacific. " * 3
BROKEN = ChatModelError("The language model did not answer.", code="llm_failed", retryable=True)


@functools.cache
def clip(text: str) -> Samples:
    return say(text)


# --- what may happen ---


@dataclass(frozen=True)
class Say:
    """The beginning of a clip."""

    text: str
    ms: int

    async def act(self, studio: Studio, stt: ScriptedSpeechToText) -> None:
        await studio.say(clip(self.text)[: self.ms * SAMPLE_RATE_HZ // 1000])


@dataclass(frozen=True)
class Pause:
    ms: int

    async def act(self, studio: Studio, stt: ScriptedSpeechToText) -> None:
        await studio.listen(self.ms / 1000)


@dataclass(frozen=True)
class SendNothing:
    """The microphone's packets stop."""

    ms: int

    async def act(self, studio: Studio, stt: ScriptedSpeechToText) -> None:
        await studio.send_nothing(self.ms / 1000)


@dataclass(frozen=True)
class Stall:
    """The event loop is blocked."""

    ms: int

    async def act(self, studio: Studio, stt: ScriptedSpeechToText) -> None:
        studio.clock.advance(self.ms / 1000)
        await studio.listen(0.02)


@dataclass(frozen=True)
class Burst:
    """The front end's frames arrive late and all at once."""

    ms: int

    async def act(self, studio: Studio, stt: ScriptedSpeechToText) -> None:
        agent = studio.conversation._agent
        held: list[SlotOutput] = []
        take = agent.output
        setattr(agent, "output", held.append)  # noqa: B010 - the type checker refuses an assignment
        try:
            await studio.listen(self.ms / 1000)
        finally:
            delattr(agent, "output")
        for output in held:
            take(output)


@dataclass(frozen=True)
class Choose:
    """`session.update`."""

    options: ConversationOptions

    async def act(self, studio: Studio, stt: ScriptedSpeechToText) -> None:
        studio.conversation.set_options(self.options)


@dataclass(frozen=True)
class Client:
    """A client's command; one that makes no sense now is refused."""

    name: str

    async def act(self, studio: Studio, stt: ScriptedSpeechToText) -> None:
        conversation = studio.conversation
        actions: dict[str, Callable[[], object]] = {
            "type": lambda: conversation.add_text("what is the capital of peru", "user"),
            "create": conversation.create_response,
            "instruct": lambda: conversation.create_response("greet the user"),
            "cancel": conversation.cancel_response,
            "clear_voice": conversation.clear_voice,
            "commit": conversation.commit_input,
            "clear_input": conversation.clear_input,
            "delete": lambda: conversation.delete_item(conversation.transcript.last_id or ""),
            "detach": studio.detach,
            "attach": studio.attach,
        }
        with suppress(InvalidRequestError):
            actions[self.name]()


@dataclass(frozen=True)
class Recognise:
    """The recogniser behaves like this from now on."""

    settle_s: float | None
    takes_back_words: int

    async def act(self, studio: Studio, stt: ScriptedSpeechToText) -> None:
        stt.opened[0].settle_s = self.settle_s
        stt.opened[0].takes_back_words = self.takes_back_words


@dataclass(frozen=True)
class Crash:
    """The recogniser crashes."""

    async def act(self, studio: Studio, stt: ScriptedSpeechToText) -> None:
        stt.opened[0].crash()


Step = Say | Pause | SendNothing | Stall | Burst | Choose | Client | Recognise | Crash

SPEECH = st.builds(Say, st.sampled_from(CLIPS), st.sampled_from((300, 500, 900, 1500, 2200, 3000)))
PAUSE = st.builds(Pause, st.sampled_from((60, 160, 240, 340, 420, 700, 1000, 1500, 3000)))
DETECTIONS = (
    TurnDetection(),
    TurnDetection(silence_ms=500),
    TurnDetection(create_response=False),
    TurnDetection(interrupt_response=False),
    None,
)
OPTIONS = st.builds(
    ConversationOptions,
    st.sampled_from(Mode),
    turn_detection=st.sampled_from(DETECTIONS),
    opener=st.booleans(),
    greeting=st.sampled_from(("", "Good morning, how can I help?")),
    idle_prompt=st.sampled_from(("", "Are you still there?")),
    idle_after_s=st.just(2.0),
)
CHOOSE = st.builds(Choose, OPTIONS)
CLIENT = st.sampled_from("type create instruct cancel clear_voice commit clear_input delete detach attach".split())
HAPPENING = st.one_of(
    st.builds(Client, CLIENT),
    st.builds(Client, CLIENT),
    CHOOSE,
    st.builds(SendNothing, st.sampled_from((100, 500, 2000))),
    st.builds(Stall, st.sampled_from((100, 300, 1200))),
    st.builds(Burst, st.sampled_from((200, 400, 800))),
    st.builds(Recognise, st.sampled_from((0.05, 0.15, 0.6, 1.5, None)), st.sampled_from((0, 0, 1))),
    st.just(Crash()),
)
ASK = st.just(Say(QUESTION, 3000))
ROUND = st.one_of(
    st.tuples(st.one_of(SPEECH, SPEECH, HAPPENING), PAUSE, HAPPENING, PAUSE),
    st.tuples(ASK, PAUSE, SPEECH, PAUSE, HAPPENING, PAUSE),
    st.tuples(ASK, PAUSE, HAPPENING, PAUSE, SPEECH, PAUSE),
    st.tuples(CHOOSE, SPEECH, st.just(Client("commit")), st.one_of(PAUSE, st.just(Client("create"))), HAPPENING, PAUSE),
    st.tuples(st.just(Client("type")), st.just(Client("create")), PAUSE, HAPPENING, PAUSE),
)
ANSWERS = st.builds(
    Answer,
    text=st.sampled_from(("", "Yes.", ANSWER, ANSWER, "It is; or not? Well...", LONG, "...")),
    first_token_delay_s=st.sampled_from((0.0, 0.2, 0.8, 2.0, 5.0)),
    token_delay_s=st.sampled_from((0.0, 0.05, 0.4)),
    error=st.sampled_from((None, None, None, BROKEN)),
    finish=st.sampled_from((Finish("stop"), Finish("stop"), Finish("no_answer"), None)),
)


@dataclass(frozen=True)
class Script:
    options: ConversationOptions
    steps: list[Step]
    lines: list[str]
    answers: list[Answer]


SCRIPTS = st.builds(
    Script,
    OPTIONS,
    st.lists(ROUND, min_size=3, max_size=8).map(lambda rounds: [step for part in rounds for step in part]),
    st.lists(st.sampled_from(LINES), min_size=1, max_size=6),
    st.lists(ANSWERS, min_size=1, max_size=6),
)


# --- what must always hold ---


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
    started = [event.item_id for event in events if isinstance(event, SpeechStarted)]
    committed = [event.item_id for event in events if isinstance(event, UserTurnCommitted)]
    final = [event.item_id for event in events if isinstance(event, FinalTranscript)]
    dropped = [event.item_id for event in events if isinstance(event, UserTurnDropped)]
    ends = Counter([*final, *dropped])
    assert max(Counter([*started, *committed]).values(), default=0) <= 2
    assert len(set(started)) == len(started)
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
        "deferred": conversation._deferred,
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


def run(script: Script) -> None:
    stt = ScriptedSpeechToText(*script.lines)
    ordinary = False

    def answer(request: ChatRequest) -> Answer:
        if ordinary:
            return Answer(ANSWER)
        return script.answers[len(chat.calls) % len(script.answers)]

    chat = ScriptedChatModel(answer)

    async def scene(studio: Studio) -> None:
        nonlocal ordinary
        to_be_answered: set[str] = set()

        def watch(news: list[Event]) -> None:
            check_floor(studio)
            if studio.conversation._automatic:
                to_be_answered.update(event.item_id for event in news if isinstance(event, FinalTranscript))

        studio.watch = watch
        await studio.listen(0.3)
        for step in script.steps:
            await step.act(studio, stt)
        studio.attach()
        studio.conversation.set_options(ConversationOptions())
        stt.opened[0].settle_s, stt.opened[0].takes_back_words = 0.15, 0
        await come_to_rest(studio)
        whole = Client("detach") not in script.steps and not any(isinstance(step, Burst) for step in script.steps)
        check_responses(studio.events, whole)
        if not {Client("cancel"), Client("clear_voice")} & set(script.steps):
            check_last_turn(studio.events, to_be_answered)

        ordinary = True
        stt.opened[0].lines = [QUESTION]
        before = len(studio.events)
        await studio.say(clip(QUESTION))
        await come_to_rest(studio)
        check_ordinary(studio.events[before:])
        check_responses(studio.events, whole)
        check_user(studio.events)
        check_oracle(studio.events)
        check_order(studio)
        assert not any(trouble.fatal for trouble in studio.all(Trouble))

    with no_errors_logged():
        in_studio(scene, chat=chat, stt=stt, options=script.options)


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


def test_random_conversations() -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=SEED is None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],  # shrinking minutes of talk takes longer than reading them
        print_blob=False,
    )
    @given(SCRIPTS)
    def conversations(script: Script) -> None:
        run(script)

    (conversations if SEED is None else seed(int(SEED))(conversations))()

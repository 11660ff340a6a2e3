"""Random conversations: what users, clients, models and networks may do, as Hypothesis strategies."""

import functools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from hypothesis import strategies as st

from kame_core.audio import SAMPLE_RATE_HZ, Samples
from kame_core.backend.base import Finish
from kame_core.errors import ChatModelError, InvalidRequestError
from kame_core.frontend.base import SlotOutput
from kame_core.options import AsideOptions, ConversationOptions, Mode, ResponseOptions, TurnDetection
from tests.support.chat import Answer
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.speech import say
from tests.support.studio import Studio

QUESTION = "what is the capital of france"
ANSWER = "Paris is the capital of France."
CLIPS = ("ah", "aha", "stop", QUESTION, "tell me something long about the earth and the moon and all the planets")
LINES = ("", "mm-hm", "stop", "and what about", "tell me about the earth", QUESTION, "i like rainy days very much")
LONG = "There are seven continents and five oceans, and the largest of them is the Pacific. " * 3
BROKEN = ChatModelError("The language model did not answer.", code="llm_failed", retryable=True)


@functools.cache
def clip(text: str) -> Samples:
    return say(text)


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
            "instruct": lambda: conversation.create_response(ResponseOptions("greet the user")),
            "cancel": conversation.cancel_response,
            "clear_voice": conversation.clear_voice,
            "commit": conversation.commit_input,
            "clear_input": conversation.clear_input,
            "delete": lambda: conversation.delete_item(conversation.transcript.last_id or ""),
            "detach": studio.detach,
            "attach": studio.attach,
            "aside": lambda: conversation.create_aside(AsideOptions("name the topic")),
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
CLIENT = st.sampled_from(
    "type create instruct cancel clear_voice commit clear_input delete detach attach aside".split()
)
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

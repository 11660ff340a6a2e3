"""Speech-to-text inside the moshi front end: one codec pass for both, and whole conversations on it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kame_core.audio import FRAME_SAMPLES, Samples, silence
from kame_core.clock import VirtualClock, run_virtual
from kame_core.engines import Engines
from kame_core.errors import SpeechToTextError
from kame_core.events import CandidateStarted, FinalTranscript, PartialTranscript, ResponseStarted, SpeechStopped
from kame_core.frontend.base import SlotInput, SlotOptions, SlotOutput
from kame_core.frontend.host import LocalHost
from kame_core.frontend.moshi.checkpoint import LoadedCheckpoint
from kame_core.frontend.moshi.engine import MoshiEngine
from kame_core.frontend.moshi.generation import StepResult
from kame_core.frontend.moshi.sampling import GREEDY
from kame_core.options import ConversationOptions, Mode
from kame_core.registry import ConversationRegistry
from kame_core.stt.base import RecognizerUpdate
from kame_core.stt.kyutai import KyutaiRecognizer, KyutaiSpeechToText
from kame_core.stt.kyutai_words import WordStream
from kame_core.vad import SileroModel
from kame_core.workers import InlineWorkers
from tests.support.chat import ScriptedChatModel
from tests.support.speech import say
from tests.support.studio import Studio
from tests.support.tiny_kyutai import DELAY, build_kyutai, loaded
from tests.support.tiny_moshi import PAD_ID, build_mimi, build_moshi, load_tiny_moshi


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A front end's checkpoint, and one for speech-to-text trained with the same codec."""
    root = tmp_path_factory.mktemp("checkpoints")
    return build_moshi(root / "moshi"), build_kyutai(root / "kyutai")


@pytest.fixture(scope="module")
def moshi(folders: tuple[Path, Path]) -> LoadedCheckpoint:
    return load_tiny_moshi(folders[0])


def noise(ticks: int) -> list[Samples]:
    random = np.random.default_rng(3)
    return [random.uniform(-0.3, 0.3, FRAME_SAMPLES).astype(np.float32) for _ in range(ticks)]


# --- one codec for both ---


@pytest.fixture
def stt(folders: tuple[Path, Path]) -> KyutaiSpeechToText:
    return KyutaiSpeechToText(loaded(folders[1]))


def talk(engine: MoshiEngine, sound: list[Samples]) -> list[SlotOutput]:
    engine.open(0, SlotOptions(seed=1))
    outputs = [engine.step([SlotInput(0, frame)])[0] for frame in sound]
    engine.close(0)
    engine.shutdown()
    return outputs


def test_the_front_end_says_the_same_whether_somebody_listens_or_not(
    moshi: LoadedCheckpoint, stt: KyutaiSpeechToText, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = noise(25)
    alone = talk(MoshiEngine(moshi, 2, sampling=GREEDY), sound)
    engine = MoshiEngine(moshi, 2, sampling=GREEDY, listener=stt.listen(moshi.mimi, 2))
    encode, encoded = moshi.mimi.encode, []

    def count(pcm: Tensor) -> Tensor:
        encoded.append(pcm.shape)
        return encode(pcm)

    monkeypatch.setattr(moshi.mimi, "encode", count)
    heard = talk(engine, sound)
    assert len(encoded) == len(sound)  # one pass for both
    assert [out.text for out in heard] == [out.text for out in alone]
    assert all(np.array_equal(one.voice, other.voice) for one, other in zip(heard, alone, strict=True))


@pytest.mark.parametrize(("model_ms", "steps_ahead"), [(30, DELAY), (45, 3), (90, 0)])
def test_warming_up_tells_how_late_words_at_a_pause_are_read(
    moshi: LoadedCheckpoint, stt: KyutaiSpeechToText, monkeypatch: pytest.MonkeyPatch, model_ms: int, steps_ahead: int
) -> None:
    now_s = 0.0

    def lasts(owner: object, method: str, duration_s: float) -> None:
        plain = getattr(owner, method)

        def slow(*args: object, **kwargs: object) -> object:
            nonlocal now_s
            now_s += duration_s
            return plain(*args, **kwargs)

        monkeypatch.setattr(owner, method, slow)

    monkeypatch.setattr("kame_core.frontend.moshi.engine._TIMED_STEPS", 4)
    listener = stt.listen(moshi.mimi, 2)
    engine = MoshiEngine(moshi, 2, listener=listener, now_s=lambda: now_s)
    monkeypatch.setattr(listener, "_now_s", lambda: now_s)
    lasts(listener._batch, "step", 0.004)
    lasts(engine._lm, "step", model_ms / 1000)
    lasts(engine._lm, "open", 0.003)
    try:
        times = engine.warm_up()
    finally:
        engine.shutdown()
    assert times.p50_ms == pytest.approx(model_ms + 4)
    assert times.joined_ms == pytest.approx(model_ms + 7)
    assert times.reading_ms == pytest.approx(80 * (DELAY - steps_ahead))


def test_an_encode_at_32_codebooks_begins_with_that_at_8() -> None:
    mimi = build_mimi(32)
    sound = torch.from_numpy(np.concatenate(noise(12)))[None, None]
    codes = []
    for codebooks in (8, 32):
        mimi.set_num_codebooks(codebooks)
        with torch.no_grad(), mimi.streaming(1):
            codes.append(torch.cat([mimi.encode(frame) for frame in torch.split(sound, FRAME_SAMPLES, 2)], 2))
    few, many = codes
    assert many.shape[1] == 32
    assert torch.equal(few, many[:, :8])


# --- whole conversations ---


@dataclass
class Room:
    """Conversations in virtual time on one moshi front end with ears."""

    moshi: LoadedCheckpoint
    stt: KyutaiSpeechToText
    chat: ScriptedChatModel = field(default_factory=ScriptedChatModel)
    codes: list[list[int]] = field(default_factory=list)
    """First codebook of all slots, tick by tick."""
    told: list[list[int]] = field(default_factory=list)
    """The same of what the front end's own model hears."""

    def run(self, scene: "Scene") -> None:
        run_virtual(lambda clock: self._main(clock, scene))

    async def _main(self, clock: VirtualClock, scene: "Scene") -> None:
        listener = self.stt.listen(self.moshi.mimi, 2)
        hear = listener.hear

        def overhear(codes: Tensor, spare_s: float) -> dict[int, tuple[RecognizerUpdate, ...]]:
            self.codes.append(codes[:, 0, 0].tolist())
            return hear(codes, 10.0)  # as on a machine with time to spare

        listener.hear = overhear  # type: ignore[method-assign]
        engine = MoshiEngine(self.moshi, 2, listener=listener, now_s=clock.now)
        step = engine._lm.step

        def note(codes: Tensor, oracle: Sequence[int] | Tensor) -> StepResult:
            self.told.append(codes[:, 0, 0].tolist())
            return step(codes, oracle)

        engine._lm.step = note  # type: ignore[method-assign]
        host = LocalHost.inline(engine, clock)
        engines = Engines(host, self.stt, SileroModel(), self.chat, clock, InlineWorkers())
        try:
            async with ConversationRegistry(engines) as registry:
                await scene(self, registry, clock)
            assert host.free == 2
        finally:
            await engines.aclose()

    def words(self, slot: int) -> str:
        """All that a listener with ideal ears would have written."""
        stream = WordStream(self.moshi.tokenizer, frozenset({0, PAD_ID}))
        for tick, codes in enumerate([*self.codes, [0, 0]]):
            stream.push(tick, codes[slot])
        return stream.text()


class Scene:
    """What happens in a room; called once."""

    async def __call__(self, room: Room, registry: ConversationRegistry, clock: VirtualClock) -> None:
        raise NotImplementedError


class OneQuestion(Scene):
    async def __call__(self, room: Room, registry: ConversationRegistry, clock: VirtualClock) -> None:
        studio = Studio(await registry.open(ConversationOptions()), registry, clock)
        await studio.listen(0.5)
        await studio.say(say("what is the capital of france"))
        await studio.listen(2.0)
        final = studio.one(FinalTranscript)
        assert final.text == room.words(0)
        assert len(final.text) > 5
        partials = [event.text for event in studio.all(PartialTranscript)]
        assert partials[-1] == final.text
        assert len(partials) > 1
        stopped = studio.one(SpeechStopped)
        assert stopped.at_ms - stopped.speech_end_ms < 640  # it was foreseen; by such words alone it would be 880
        assert final.at_ms == stopped.at_ms  # all was read before
        asked = [call.text for call in room.chat.calls]
        assert final.text in asked[-1]
        assert studio.all(CandidateStarted)


class TwoAtOnce(Scene):
    """Two users; then a third in the place of the first."""

    async def __call__(self, room: Room, registry: ConversationRegistry, clock: VirtualClock) -> None:
        studios = [Studio(await registry.open(ConversationOptions()), registry, clock) for _ in range(2)]
        sounds = [say("what is the capital of france"), say("seven times eight", rate=120)]
        size = max(sound.size for sound in sounds) + 2 * 24_000
        await asyncio.gather(
            *(
                studio.say(np.concatenate([silence(6_000), sound, silence(size - sound.size)]))
                for studio, sound in zip(studios, sounds, strict=True)
            )
        )
        finals = [studio.one(FinalTranscript).text for studio in studios]
        assert finals == [room.words(0), room.words(1)]
        assert finals[0] != finals[1]
        await studios[0].conversation.aclose()
        room.codes.clear()
        third = Studio(await registry.open(ConversationOptions()), registry, clock)
        await third.say(np.concatenate([silence(12_000), sounds[1], silence(48_000)]))
        assert third.one(FinalTranscript).text == room.words(0)


class TwoTurns(Scene):
    async def __call__(self, room: Room, registry: ConversationRegistry, clock: VirtualClock) -> None:
        studio = Studio(await registry.open(ConversationOptions()), registry, clock)
        for text in ("what is the capital of france", "and of spain"):
            await studio.listen(0.6)
            await studio.say(say(text))
            await studio.listen(2.0)
        finals = [event.text for event in studio.all(FinalTranscript)]
        assert len(finals) == 2
        assert "".join(finals).replace(" ", "") == room.words(0).replace(" ", "")
        assert studio.all(ResponseStarted)


class ByHand(Scene):
    """Push to talk: the model is deaf but for what it is told; in `direct` mode, which tells it nothing, it hears."""

    async def __call__(self, room: Room, registry: ConversationRegistry, clock: VirtualClock) -> None:
        by_hand = ConversationOptions(turn_detection=None)
        studio = Studio(await registry.open(by_hand), registry, clock)
        beside = Studio(await registry.open(ConversationOptions()), registry, clock)
        sounds = [say("and of spain"), say("what is the capital of france")]
        await asyncio.gather(studio.say(sounds[0]), beside.say(sounds[0]))
        await asyncio.gather(studio.listen(1.0), beside.listen(1.0))
        studio.conversation.clear_input()  # the button was never pressed
        room.codes.clear()
        await studio.say(sounds[1])
        await studio.listen(1.0)
        studio.conversation.commit_input()
        await studio.listen(0.5)
        assert studio.one(FinalTranscript).text == room.words(0)
        assert [any(codes) for codes in zip(*room.told, strict=True)] == [False, True]
        studio.conversation.set_options(replace(by_hand, mode=Mode.DIRECT))
        room.told.clear()
        await studio.say(sounds[1])
        assert any(codes[0] for codes in room.told)


@pytest.mark.parametrize(
    "scene", [OneQuestion(), TwoAtOnce(), TwoTurns(), ByHand()], ids=lambda scene: type(scene).__name__
)
def test_a_conversation_is_understood_by_what_its_front_end_hears(
    moshi: LoadedCheckpoint, stt: KyutaiSpeechToText, scene: Scene
) -> None:
    Room(moshi, stt).run(scene)


# --- recognisers ---


class Told:
    """Stands where the listener stands; notes the names of what it is told."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def tell(self, slot: int, what: Any) -> None:
        assert slot == 3
        self.names.append(getattr(what, "func", what).__name__)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def recognizer(told: Told) -> KyutaiRecognizer:
    made = KyutaiRecognizer(told)  # type: ignore[arg-type]
    made.attach(3)
    return made


def test_the_slot_is_told_of_speech_pauses_and_turns(recognizer: KyutaiRecognizer, told: Told) -> None:
    window = silence(768)
    for _ in range(10):
        recognizer.push(window)
    recognizer.flush()
    for _ in range(3):  # the rest of the pause's beginning
        recognizer.push(window)
    assert told.names == ["listen", "flush"]
    for _ in range(10):
        recognizer.push(window)
    assert told.names == ["listen", "flush", "resume"]
    recognizer.flush()
    recognizer.commit()
    recognizer.push(window)
    assert told.names == ["listen", "flush", "resume", "flush", "commit", "listen"]


async def test_a_closed_recogniser_tells_nothing_and_ends_its_updates(recognizer: KyutaiRecognizer, told: Told) -> None:
    await recognizer.aclose()
    await recognizer.aclose()
    recognizer.push(silence(768))
    recognizer.flush()
    assert told.names == []
    assert [update async for update in recognizer.updates()] == []


async def test_nothing_can_be_opened_without_a_front_end_or_in_a_strange_language(
    stt: KyutaiSpeechToText, moshi: LoadedCheckpoint
) -> None:
    with pytest.raises(SpeechToTextError, match="moshi front end"):
        await stt.open("en")
    listener = stt.listen(moshi.mimi, 1)
    for language in ("en", "fr-CA", "auto", ""):
        await (await stt.open(language)).aclose()
    with pytest.raises(SpeechToTextError, match="en and fr") as refused:
        await stt.open("de-DE")
    assert refused.value.code == "unsupported_language"
    listener.shutdown()
    await stt.aclose()
    await stt.aclose()
    with pytest.raises(SpeechToTextError):
        await stt.open("en")

"""Whisper speech-to-text with a real, tiny, randomly initialised model: what it reads is random, how it goes is not."""

import asyncio
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faster_whisper
import pytest

from kame_core.audio import Samples, silence
from kame_core.errors import SpeechToTextError
from kame_core.stt.base import RecognizerUpdate, SpeechToText
from kame_core.stt.faster_whisper import FasterWhisperSpeechToText, WhisperRecognizer
from kame_core.stt.languages import tune
from kame_core.stt.local_agreement import LocalAgreement
from kame_core.stt.whisper_reader import Reading, WhisperReader
from tests.support.tiny_whisper import build_whisper
from tests.support.whisper_talk import RATE_HZ, Reader, engine, push, speech


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def english_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_whisper(tmp_path_factory.mktemp("whisper-en"), multilingual=False)


# --- with the model ---


async def test_loading_is_idempotent_and_says_where_it_runs(model: Path) -> None:
    async with engine(model) as stt:
        typed: SpeechToText = stt
        assert (typed.name, stt.running_on) == ("faster-whisper", "")
        await asyncio.gather(stt.load(), stt.load())
        assert stt.running_on == "cpu int8"
        assert sum(thread.name.startswith("whisper") for thread in threading.enumerate()) == 1


async def test_partials_come_while_speech_goes_on(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readings: list[tuple[str, bool]] = []
    read = WhisperReader.read

    def recorded(*args: Any, settled: bool, **kwargs: Any) -> Reading:
        reading = read(*args, settled=settled, **kwargs)
        readings.append((reading.text, settled))
        return reading

    monkeypatch.setattr(WhisperReader, "read", recorded)
    sound = speech(4.0)
    async with engine(model) as stt:
        recognizer = await stt.open("en")
        reader = Reader(recognizer)
        partials = []
        for start in range(0, sound.size, RATE_HZ // 2):
            push(recognizer, sound[start : start + RATE_HZ // 2])
            partials += await reader.within(0.3)
        while recognizer._reading or len(partials) < len(readings):
            partials.append(await reader.next())
        recognizer.flush()
        settled = await reader.settled()
    assert len(partials) >= 4
    assert all(update.utterance == 0 and update.text and not update.settled for update in partials)
    agreement = LocalAgreement()
    expected = []
    for text, was_settled in readings[:-1]:
        before = agreement.stable
        assert not was_settled
        expected.append(agreement.push(text))
        assert expected[-1].startswith(before)
    assert [update.text for update in partials] == expected
    assert agreement.stable  # the random model does agree with itself on this sound
    assert readings[-1] == (settled.text, True)


@pytest.mark.parametrize("seconds", [0.4, 3.0])
async def test_the_settled_reading_is_the_librarys_own_of_all_sound(model: Path, seconds: float) -> None:
    sound = speech(seconds)
    whisper = faster_whisper.WhisperModel(str(model), device="cpu", compute_type="int8", cpu_threads=1)
    options = {"temperature": 0.0, "without_timestamps": True, "condition_on_previous_text": False}
    segments, _ = whisper.transcribe(
        sound, language="en", beam_size=5, max_new_tokens=16 + sound.size * 40 // RATE_HZ, **options
    )
    expected = "".join(segment.text for segment in segments).strip()
    async with engine(model) as stt:
        recognizer = await stt.open("en-GB")
        reader = Reader(recognizer)
        push(recognizer, sound[: sound.size // 2])
        recognizer.flush()
        first = await reader.settled()
        push(recognizer, sound[sound.size // 2 :])
        recognizer.flush()
        assert await reader.settled() == RecognizerUpdate(0, expected, settled=True)
        assert first.text
        assert first.text != expected
        assert await reader.within(0.2) == []


async def test_nothing_and_silence_settle_empty(model: Path) -> None:
    async with engine(model) as stt:
        recognizer = await stt.open("en")
        reader = Reader(recognizer)
        recognizer.flush()
        assert await reader.next() == RecognizerUpdate(0, "", settled=True)
        push(recognizer, silence(2 * RATE_HZ))
        recognizer.flush()
        assert await reader.next() == RecognizerUpdate(0, "", settled=True)
        assert await reader.within(0.2) == []


async def test_a_detected_language_stays_for_the_utterance(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    read = WhisperReader.read

    def recorded(self: WhisperReader, pieces: Any, languages: tuple[str, ...], *, settled: bool) -> Reading:
        asked.append(languages)
        return read(self, pieces, languages, settled=settled)

    monkeypatch.setattr(WhisperReader, "read", recorded)
    async with engine(model) as stt:
        recognizer = await stt.open("auto")
        reader = Reader(recognizer)
        for _ in range(2):
            recognizer.push(speech(3.5))
            recognizer.flush()
            update = await reader.settled()
        recognizer.commit()
        recognizer.push(speech(1.0))
        recognizer.flush()
        await reader.settled()
    assert asked == [(), (update.language,), ()]
    assert len(update.language) == 2


async def test_of_two_languages_the_likelier_is_read_and_told(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the model hears in the sound is given: French above all, which nobody speaks here."""
    heard = iter(([("fr", 0.6), ("de", 0.2), ("en", 0.1)], [("fr", 0.5), ("en", 0.39), ("de", 0.01)]))
    read: list[str] = []
    transcribe = faster_whisper.WhisperModel.transcribe

    def detect(_: object, sound: Samples) -> tuple[str, float, list[tuple[str, float]]]:
        shares = next(heard)
        return (*shares[0], shares)

    def recorded(self: faster_whisper.WhisperModel, sound: Samples, **options: Any) -> Any:
        read.append(options["language"])
        return transcribe(self, sound, **options)

    async with engine(model) as stt:
        recognizer = await stt.open("mul")
        recognizer.expect(("de-AT", "en"))
        reader = Reader(recognizer)
        monkeypatch.setattr(faster_whisper.WhisperModel, "detect_language", detect)
        monkeypatch.setattr(faster_whisper.WhisperModel, "transcribe", recorded)

        async def language_of(seconds: float) -> str:
            recognizer.push(speech(seconds))
            recognizer.flush()
            return (await reader.settled()).language

        assert await language_of(1.2) == "de"
        recognizer.commit()
        assert await language_of(1.2) == "en"
        assert await language_of(0.4) == "en", "after 97 % in a second it is not detected again"
        recognizer.commit()
        recognizer.expect(("en",))
        assert await language_of(1.2) == "", "a language that was given is not recognised"
    assert read == ["de", "en", "en", "en"]


async def test_really_detected_languages_are_among_those_expected(model: Path) -> None:
    async with engine(model) as stt:
        recognizer = await stt.open("mul")
        recognizer.expect(("cy", "mi"))
        recognizer.push(speech(1.0))
        recognizer.flush()
        assert (await Reader(recognizer).settled()).language in ("cy", "mi")


async def test_languages(model: Path, english_model: Path) -> None:
    async with engine(model) as stt:
        for tag in ("en", "pt-BR", "nb", "zh_CN", ""):
            await stt.open(tag)
        with pytest.raises(SpeechToTextError, match="'xx'") as unknown:
            await stt.open("xx")
        assert (unknown.value.code, unknown.value.retryable) == ("unsupported_language", False)
    async with engine(english_model) as stt:
        recognizer = await stt.open("auto")
        recognizer.push(speech(1.0))
        recognizer.flush()
        assert (await Reader(recognizer).settled()).text
        with pytest.raises(SpeechToTextError, match="only English"):
            await stt.open("de")
        both = await stt.open("mul")
        told = tune(stt, both, ("en", "de"))
        assert told is not None
        assert told.code == "language_not_heard"
        assert tune(stt, both, ("en",)) is None


async def test_models_that_cannot_be_used(model: Path, tmp_path: Path) -> None:
    async with engine(tmp_path / "nothing") as stt:
        with pytest.raises(SpeechToTextError, match="no Whisper model nothing") as missing:
            await stt.load()
        assert missing.value.code == "model_missing"
    bare = shutil.copytree(model, tmp_path / "bare")
    (bare / "tokenizer.json").unlink()
    async with engine(bare) as stt:
        with pytest.raises(SpeechToTextError, match=r"lacks tokenizer\.json"):
            await stt.open("en")
    for name, content in (("model.bin", b"no model"), ("tokenizer.json", b"{}")):
        broken = shutil.copytree(model, tmp_path / name)
        (broken / name).write_bytes(content)
        async with engine(broken) as stt:
            with pytest.raises(SpeechToTextError, match="cannot be loaded on cpu") as unusable:
                await stt.open("en")
            assert unusable.value.code == "model_unusable"


async def test_without_cuda_auto_takes_the_cpu(model: Path) -> None:
    import ctranslate2

    if ctranslate2.get_cuda_device_count():
        pytest.skip("there is a CUDA device")
    stt = FasterWhisperSpeechToText(model)
    await stt.load()
    assert stt.running_on == "cpu int8"
    await stt.aclose()
    stt = FasterWhisperSpeechToText(model, device="cuda")
    with pytest.raises(SpeechToTextError, match="cannot be loaded on cuda"):
        await stt.load()
    await stt.aclose()


# --- trouble ---


async def test_a_failed_reading_is_told_and_the_next_works(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with engine(model) as stt:
        recognizer = await stt.open("en")
        reader = Reader(recognizer)
        with monkeypatch.context() as broken:
            broken.setattr(faster_whisper.WhisperModel, "transcribe", _broken)
            push(recognizer, speech(0.6))
            partial = await reader.next()
            recognizer.flush()
            settled = await reader.next()
        assert isinstance(partial.fault, SpeechToTextError)
        assert (partial.fault.code, partial.fault.retryable, partial.settled) == ("stt_failed", True, False)
        assert settled.fault is not None
        assert settled.settled
        recognizer.flush()
        mended = await reader.next()
        assert mended.fault is None
        assert mended.text


async def test_a_fault_keeps_what_was_understood_before(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with engine(model) as stt:
        recognizer = await stt.open("en")
        reader = Reader(recognizer)
        push(recognizer, speech(1.0))
        before = await reader.next()
        monkeypatch.setattr(faster_whisper.WhisperModel, "transcribe", _broken)
        recognizer.flush()
        failed = await reader.settled()
    assert failed.fault is not None
    assert failed.text == before.text != ""


def _broken(*args: object, **kwargs: object) -> None:
    raise RuntimeError("CUDA failed with error out of memory")


async def _read_as(
    stt: FasterWhisperSpeechToText, monkeypatch: pytest.MonkeyPatch, *segments: SimpleNamespace
) -> tuple[WhisperRecognizer, list[dict[str, Any]]]:
    """A recogniser whose model says these things, one each call, the last again; and how it was asked."""
    recognizer = await stt.open("en")
    asked: list[dict[str, Any]] = []

    def transcribe(_: object, sound: Samples, **options: Any) -> tuple[list[SimpleNamespace], SimpleNamespace]:
        asked.append(options)
        return [segments[min(len(asked), len(segments)) - 1]], SimpleNamespace(language="en")

    monkeypatch.setattr(faster_whisper.WhisperModel, "transcribe", transcribe)
    return recognizer, asked


def _segment(text: str, no_speech: float = 0.01, logprob: float = -0.2, compression: float = 1.0) -> SimpleNamespace:
    return SimpleNamespace(text=text, no_speech_prob=no_speech, avg_logprob=logprob, compression_ratio=compression)


@pytest.mark.parametrize(
    ("segment", "text"),
    [
        (_segment(" Thank you."), "Thank you."),
        (_segment(" Thank you.", no_speech=0.4), ""),
        (_segment(" Thanks for watching!", logprob=-0.9), ""),
        (_segment(" Thank you for the music.", no_speech=0.4), "Thank you for the music."),
        (_segment(" What  is\nthis?\ufffd"), "What is this?"),
    ],
)
async def test_stock_phrases_are_believed_only_when_sure(
    model: Path, monkeypatch: pytest.MonkeyPatch, segment: SimpleNamespace, text: str
) -> None:
    async with engine(model) as stt:
        recognizer, asked = await _read_as(stt, monkeypatch, segment)
        recognizer.push(speech(0.3))
        recognizer.flush()
        assert await Reader(recognizer).next() == RecognizerUpdate(0, text, settled=True)
    assert asked[0]["no_speech_threshold"] == 0.6
    assert asked[0]["log_prob_threshold"] == -1.0


async def test_repetitions_are_not_shown_and_read_again(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looping, sound = _segment(" no no no no no no no no", compression=3.0), _segment(" No.")
    async with engine(model) as stt:
        recognizer, asked = await _read_as(stt, monkeypatch, looping, looping, sound)
        reader = Reader(recognizer)
        push(recognizer, speech(0.6))
        async with asyncio.timeout(20):
            while not asked:
                await asyncio.sleep(0.01)
        assert await reader.within(0.2) == []
        recognizer.flush()
        assert await reader.next() == RecognizerUpdate(0, "No.", settled=True)
    assert [(options["beam_size"], options.get("no_repeat_ngram_size")) for options in asked] == [
        (1, None),
        (5, None),
        (5, 3),
    ]

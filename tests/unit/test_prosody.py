"""Articulation tells words from hums, melody the end of a turn from a pause within it."""

import asyncio

import numpy as np
import pytest

from kame_core.audio import SAMPLE_RATE_HZ, Samples, resample
from kame_core.prosody import Melody, Prosody, ProsodyTracker
from kame_core.vad import SAMPLE_RATE_HZ as EAR_RATE_HZ
from kame_core.vad import WINDOW_SAMPLES, GateChange, SileroModel, SpeechGate, VoiceActivityDetector
from tests.support.speech import Recording, microphone, recordings, say
from tests.support.spoken_pauses import say_parts

_VAD = SileroModel()
VOICES = [("en-us", 165), ("en-us+f3", 150), ("en-gb-x-rp", 160)]


def followed(sound16k: Samples) -> list[tuple[float, GateChange, bool, Prosody]]:
    """Time, change, voiced and voice after every window."""
    detector, gate, tracker = VoiceActivityDetector(_VAD), SpeechGate(), ProsodyTracker()
    states = []
    for number, window in enumerate(detector.push(sound16k)):
        state = gate.push(window)
        piece = sound16k[number * WINDOW_SAMPLES : (number + 1) * WINDOW_SAMPLES]
        voiced = state.speaking and state.silence_ms == 0
        states.append((window.end_samples / EAR_RATE_HZ, state.change, voiced, tracker.push(piece, state)))
    return states


def heard(*parts: Samples | float) -> Samples:
    return resample(microphone(*parts), SAMPLE_RATE_HZ, EAR_RATE_HZ)


def articulation_db(sound: Samples, after_s: float) -> float:
    """Of the voice so long after it began."""
    states = followed(heard(0.5, sound, 0.5))
    began_s = next(at_s for at_s, change, _, _ in states if change is GateChange.BEGAN)
    measured = next(voice.articulation_db for at_s, _, _, voice in states if at_s >= began_s + after_s)
    assert measured is not None
    return measured


@pytest.mark.parametrize("voice", VOICES)
def test_words_are_articulated_and_drawn_out_vowels_are_not(voice: tuple[str, int]) -> None:
    name, rate_wpm = voice
    words = articulation_db(say("sorry what did you say about that", name, rate_wpm), 0.5)
    vowel = articulation_db(say("uh huh", name, 90), 0.5)
    assert words > 6.0
    assert vowel < 5.0


def test_a_noisy_room_is_not_articulated() -> None:
    vowel = say("uh huh", "en-us", 90)
    noise = np.float32(10 ** (-45 / 20)) * np.random.default_rng(3).standard_normal(vowel.size).astype(np.float32)
    assert articulation_db(vowel + noise, 0.5) < 5.0


def test_the_end_of_a_sound_is_no_articulation_and_tells_that_it_dies_away() -> None:
    sound = say("ah ha", "en-us", 80)
    fading = sound * np.geomspace(1.0, 0.02, sound.size).astype(np.float32)
    voices = [voice for _, _, voiced, voice in followed(heard(0.5, fading, 0.6)) if voiced]
    assert all(voice.articulation_db is None or voice.articulation_db < 5.5 for voice in voices[4:])
    assert voices[2].decay_db < 6.0
    assert voices[-1].decay_db > 15.0


@pytest.mark.parametrize("voice", VOICES[:2])
def test_pitch_falls_at_the_end_of_a_sentence_and_not_at_a_pause_within(voice: tuple[str, int]) -> None:
    parts = ["last week my sister told me about", "the new library in town"]
    first, _ = asyncio.run(say_parts(parts, *voice))
    assert followed(heard(0.4, first, 0.6))[-1][3].melody is Melody.HELD
    whole = say(" ".join(parts), *voice)
    assert followed(heard(0.4, whole, 0.6))[-1][3].melody is Melody.FALLEN


def test_of_a_word_alone_the_melody_is_not_known() -> None:
    assert followed(heard(0.4, say("yes"), 0.6))[-1][3].melody is Melody.UNKNOWN


def test_silence_is_no_voice() -> None:
    assert {voice for _, _, _, voice in followed(heard(2.0))} == {Prosody()}


def speech(name: str) -> Recording:
    found = [recording for recording in recordings() if recording.name == name]
    if not found:
        pytest.skip("the recordings are not beside this checkout")
    return found[0]


def test_a_real_speaker_holds_his_pitch_in_pauses_and_lets_it_fall_at_the_end() -> None:
    sound = np.concatenate([speech("jfk.flac").samples16k, np.zeros(EAR_RATE_HZ, np.float32)])
    pauses = [(at_s, voice.melody) for at_s, change, _, voice in followed(sound) if change is GateChange.PAUSED]
    within = [melody for at_s, melody in pauses if at_s < 6.0]  # "my fellow Americans | ask | not | what ..."
    assert len(within) >= 3
    assert set(within) == {Melody.HELD}
    assert pauses[-1][1] is Melody.FALLEN

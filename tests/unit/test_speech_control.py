"""Holding a front end that takes turns: its ears, its voice's gate, a second try; and the dialogue around it."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from kame_core.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ, Samples, silence
from kame_core.errors import InvalidRequestError
from kame_core.frontend.base import Floor, OracleProgress, SlotOutput, SpeechOrigin, SpeechPolicy, UserState
from kame_core.speech_control import InputHold, OutputGate, SpeechControl, UnspokenWatch

GUIDED = SpeechControl(wait_for_guidance=True)
FREE = SpeechControl()
READ = OracleProgress("a", read_chars=5)


def ramp(samples: int, start: int = 1) -> Samples:
    return np.arange(start, start + samples, dtype=np.float32)


# --- ears ---


@pytest.mark.parametrize("hold_ms", [0, 80, 130, 800])
@pytest.mark.parametrize("piece", [480, 1920, 4001])
def test_the_model_hears_everything_so_much_later(hold_ms: int, piece: int) -> None:
    hold, said, heard = InputHold(), ramp(2 * SAMPLE_RATE_HZ), []
    for begin in range(0, said.size, piece):
        here = said[begin : begin + piece]
        heard.append(hold.push(here, hold_ms))
        assert heard[-1].size == here.size
    line, held = np.concatenate(heard), hold_ms * SAMPLE_RATE_HZ // 1000
    assert not line[:held].any()
    np.testing.assert_array_equal(line[held:], said[: said.size - held])


def test_a_hold_that_changes_in_a_call_neither_repeats_nor_reorders() -> None:
    hold, position, heard = InputHold(), 1, []
    for hold_ms in [0] * 5 + [400] * 40 + [80] * 10 + [0] * 10:
        heard.append(hold.push(ramp(480, position), hold_ms))
        position += 480
        assert heard[-1].size == 480
    line = np.concatenate(heard)
    sound = line[line > 0]
    assert (np.diff(sound) > 0).all()
    assert line[-1] == position - 1


@pytest.mark.parametrize("hold_ms", [-1, 801])
def test_a_hold_out_of_bounds_is_refused(hold_ms: int) -> None:
    with pytest.raises(InvalidRequestError, match="between 0 and 800"):
        SpeechControl(input_hold_ms=hold_ms)


# --- the gate ---


@dataclass
class Scene:
    control: SpeechControl
    gate: OutputGate = field(default_factory=OutputGate)
    state: UserState = field(default_factory=UserState)
    now_ms: int = 0

    def frames(self, count: int, *, speaking: bool = False, read: bool = False, more: bool = True) -> list[bool]:
        heard = []
        for _ in range(count):
            self.now_ms += 80
            out = SlotOutput(
                0,
                silence(FRAME_SAMPLES),
                speaking=speaking,
                turn=self.state.turn,
                oracle=READ if read else OracleProgress(),
            )
            heard.append(self.gate.lets_out(self.now_ms, out, self.state, control=self.control, more_to_come=more))
        return heard

    def user_turn(self) -> None:
        self.state = UserState(turn=self.state.turn + 1)

    def answer(self, *, alone: bool = False) -> None:
        self.state = replace(self.state, floor=Floor.SPEAK, policy=SpeechPolicy(alone=alone))


def asked(control: SpeechControl = GUIDED) -> Scene:
    scene = Scene(control)
    scene.user_turn()
    scene.frames(5)
    scene.answer()
    return scene


def test_without_being_asked_for_nothing_is_held_back() -> None:
    scene = asked(FREE)
    assert all(scene.frames(50, speaking=True))


def test_it_waits_for_guidance_and_opens_with_it() -> None:
    scene = asked()
    assert not any(scene.frames(10, speaking=True))
    assert all(scene.frames(3, speaking=True, read=True))
    assert all(scene.frames(10))  # and stays open in pauses of the answer
    assert all(scene.frames(3, speaking=True))


def test_it_opens_without_guidance_after_a_while() -> None:
    scene = asked()
    heard = scene.frames(40, speaking=True)
    assert heard == [False] * 19 + [True] * 21  # the first frame after the turn is its beginning: 19 * 80 ms


def test_it_opens_where_no_guidance_will_come() -> None:
    scene = asked()
    assert not any(scene.frames(3, speaking=True))
    assert all(scene.frames(3, speaking=True, more=False))


def test_it_opens_in_direct_mode() -> None:
    scene = asked()
    scene.answer(alone=True)
    assert all(scene.frames(3, speaking=True))


def test_it_never_closes_within_an_utterance() -> None:
    scene = Scene(GUIDED)
    assert all(scene.frames(5, speaking=True))
    scene.user_turn()  # the user speaks over it
    assert all(scene.frames(20, speaking=True))
    assert all(scene.frames(2))
    assert all(scene.frames(5, speaking=True))
    scene.frames(4)
    assert not any(scene.frames(5, speaking=True))


def test_a_frame_made_before_the_turn_does_not_open_it() -> None:
    scene = asked()
    late = SlotOutput(0, silence(FRAME_SAMPLES), speaking=True, turn=scene.state.turn - 1, oracle=READ)
    assert not scene.gate.lets_out(scene.now_ms, late, scene.state, control=GUIDED, more_to_come=True)


def test_a_command_closes_it_until_the_model_was_silent() -> None:
    scene = Scene(FREE)
    assert all(scene.frames(3, speaking=True))
    scene.gate.close()
    assert not any(scene.frames(20, speaking=True))
    assert scene.frames(5) == [False, False, False, True, True]
    assert all(scene.frames(3, speaking=True))


def test_a_command_does_not_silence_what_was_asked_for_after_it() -> None:
    scene = Scene(FREE)
    assert all(scene.frames(3, speaking=True, read=True))
    scene.gate.close()
    old = SlotOutput(0, silence(FRAME_SAMPLES), " am", SpeechOrigin.ORACLE, READ, speaking=True)
    new = replace(old, origin=SpeechOrigin.OWN, oracle=OracleProgress("b", read_chars=5))
    follows = replace(new, origin=SpeechOrigin.ORACLE)
    heard = [
        scene.gate.lets_out(scene.now_ms, out, scene.state, control=FREE, more_to_come=True)
        for out in (old, new, follows, new)
    ]
    assert heard == [False, False, True, True]


# --- a second try ---


def watch(frames: list[tuple[OracleProgress, bool]], answers_from: int = 0) -> list[int]:
    watching = UnspokenWatch()
    outputs = [SlotOutput(0, silence(FRAME_SAMPLES), oracle=oracle, speaking=speaks) for oracle, speaks in frames]
    return [80 * n for n, out in enumerate(outputs) if watching.is_due(80 * n, out, answers=n >= answers_from)]


DONE = OracleProgress("a", read_chars=9, finished=True)


def test_guidance_that_nothing_follows_is_given_once_more() -> None:
    assert watch([(READ, False)] * 10 + [(DONE, False)] * 80) == [800 + 1520]
    other = OracleProgress("b", read_chars=9, finished=True)
    assert len(watch([(DONE, False)] * 40 + [(other, False)] * 40)) == 2


def test_time_counts_from_when_the_turn_is_the_agents() -> None:
    assert watch([(DONE, False)] * 80, answers_from=50) == [4000 + 1520]


def test_what_is_spoken_is_not_given_again() -> None:
    assert watch([(DONE, False)] * 10 + [(DONE, True)] + [(DONE, False)] * 80) == []
    assert watch([(READ, True)] * 2 + [(DONE, False)] * 80, answers_from=20) == []  # said before the user had ended
    assert watch([(READ, False)] * 80 + [(OracleProgress(), False)] * 80) == []
    repeats = OracleProgress("b", read_chars=9, spoken_chars=9, finished=True)
    assert watch([(DONE, True)] * 10 + [(repeats, False)] * 80) == []

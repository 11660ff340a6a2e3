"""Streaming voice activity detection: Silero VAD v6 window by window, and a gate that turns probabilities into facts.

The network (Silero Team, https://github.com/snakers4/silero-vad, MIT) is carried by the faster-whisper wheel. Feeding
it one window at a time, with its state and the last 64 samples carried over, gives the same probabilities as a batch
run; it costs 0.13 ms for 32 ms of sound, so one conversation takes about 0.6 % of a core.

The gate decides only whether somebody speaks. How long a pause must be to end a turn is for the turn rules to say.
"""

import importlib.util
import os
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np

# From 1.32 on, onnxruntime's wheels report use to their maker: importing them writes a device's id into the user's
# home. A later call to its `disable_telemetry_events` comes too late for that.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort

from kame_core.audio import Samples, silence
from kame_core.errors import UnavailableError

SAMPLE_RATE_HZ = 16_000
WINDOW_SAMPLES = 512
WINDOW_MS = 32
_CONTEXT_SAMPLES = 64
_STATE_SHAPE = (1, 1, 128)


def silero_path() -> Path:
    """Where the network lies, found without importing faster_whisper (half a second and 100 MB).

    Raises:
        UnavailableError: the faster-whisper package or the file inside it is missing.
    """
    spec = importlib.util.find_spec("faster_whisper")
    if spec is not None and spec.origin is not None:
        found = sorted((Path(spec.origin).parent / "assets").glob("silero_vad*.onnx"))  # the name carries the version
        if found:
            return found[-1]
    raise UnavailableError(
        "The voice activity detector's model is missing. Install the package faster-whisper again: it carries the file."
    )


class SileroModel:
    """The loaded network; one for all conversations, safe to use from several threads.

    Args:
        path: an ONNX file of Silero VAD v6; None: the one in the faster-whisper package.

    Raises:
        UnavailableError: the file is missing or cannot be loaded.
    """

    def __init__(self, path: Path | None = None) -> None:
        ort.disable_telemetry_events()  # nothing leaves the machine, and nothing complains that it could not
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # a window is too little work to share out
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 4
        file = silero_path() if path is None else path
        try:
            self._session = ort.InferenceSession(str(file), sess_options=options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no root
            raise UnavailableError(
                f"The voice activity detector's model {file.name} cannot be loaded. Install faster-whisper again."
            ) from error

    def run(self, window: Samples, hidden: Samples, cell: Samples) -> tuple[float, Samples, Samples]:
        """One step.

        Args:
            window: float32 [1, 576], 64 samples of context before 512 new ones, 16 kHz.
            hidden: float32 [1, 1, 128], state after the step before; zeros at first.
            cell: the same.

        Returns:
            Probability of speech in [0, 1], and both states.
        """
        probability, hidden, cell = self._session.run(None, {"input": window, "h": hidden, "c": cell})
        return float(probability.reshape(-1)[0]), hidden, cell


@dataclass(frozen=True, slots=True)
class VadWindow:
    """How likely 32 ms of sound are speech."""

    end_samples: int
    """Where the window ends on the 16 kHz time line, counted from the first sample pushed."""
    probability: float
    sound: Samples = field(default_factory=lambda: silence(0), repr=False, compare=False)
    """Its samples, float32 [512]."""


class VoiceActivityDetector:
    """One conversation's stream through the network. Not thread-safe; push from one worker at a time."""

    def __init__(self, model: SileroModel) -> None:
        self._model = model
        self._position_samples = 0
        self._pending = silence(0)
        self.reset()

    def reset(self) -> None:
        """Forget what was heard; the time line goes on."""
        self._hidden = np.zeros(_STATE_SHAPE, np.float32)
        self._cell = np.zeros(_STATE_SHAPE, np.float32)
        self._window = np.zeros((1, _CONTEXT_SAMPLES + WINDOW_SAMPLES), np.float32)

    @property
    def pending_samples(self) -> int:
        """How many samples of the next window are there."""
        return self._pending.size

    def push(self, samples16k: Samples) -> list[VadWindow]:
        """Add sound, float32 [n] mono 16 kHz, any n; returns the windows it completed, oldest first."""
        sound = np.concatenate([self._pending, samples16k]) if self._pending.size else samples16k
        windows: list[VadWindow] = []
        begin = 0
        while begin + WINDOW_SAMPLES <= sound.size:
            windows.append(self._step(sound[begin : begin + WINDOW_SAMPLES]))
            begin += WINDOW_SAMPLES
        self._pending = sound[begin:].copy()
        return windows

    def _step(self, sound: Samples) -> VadWindow:
        window = self._window
        window[0, :_CONTEXT_SAMPLES] = window[0, -_CONTEXT_SAMPLES:]
        window[0, _CONTEXT_SAMPLES:] = sound
        probability, self._hidden, self._cell = self._model.run(window, self._hidden, self._cell)
        self._position_samples += WINDOW_SAMPLES
        return VadWindow(self._position_samples, probability, sound.copy())


class GateChange(StrEnum):
    """What a window changed."""

    NONE = ""
    BEGAN = "began"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class GateState:
    """What is known after a window. Positions are samples on the detector's 16 kHz time line."""

    speaking: bool
    """Speech is heard; it ends `pause_windows` after the last voiced window."""
    onset_samples: int | None
    """Where the latest stretch of speech is estimated to have begun; None before the first."""
    last_voiced_samples: int | None
    """End of the last voiced window; None before the first."""
    silence_ms: int
    """Time since then; 0 within a voiced window and before the first."""
    change: GateChange = GateChange.NONE


class SpeechGate:
    """Hysteresis over window probabilities.

    Speech begins with `start_windows` windows in a row at or above `on`; then a window counts as voiced while it is
    at or above `off`. Measured on synthetic questions, two windows notice speech 90-110 ms after it began, and one
    false start in 200 is not seen.

    Args:
        on: probability from which silence becomes speech.
        off: probability below which speech becomes silence; less than `on`.
        start_windows: voiced windows in a row that make a beginning.
        pause_windows: silent windows in a row that make a pause (a single one is often a closed consonant).

    Raises:
        ValueError: thresholds that make no hysteresis.
    """

    _ONSET_LEAD_SAMPLES = WINDOW_SAMPLES
    """The network reacts about one window late: 21-41 ms after the true onset on average."""

    def __init__(self, on: float = 0.5, off: float = 0.35, start_windows: int = 2, pause_windows: int = 2) -> None:
        if not 0.0 < off <= on < 1.0 or start_windows < 1 or pause_windows < 1:
            raise ValueError(
                f"a gate needs 0 < off <= on < 1 and at least one window each, not {off}, {on}, "
                f"{start_windows}, {pause_windows}"
            )
        self._on = on
        self._off = off
        self._start_windows = start_windows
        self._pause_windows = pause_windows
        self._run = 0
        self._quiet = 0
        self._run_begin_samples = 0
        self.state = GateState(False, None, None, 0)

    def push(self, window: VadWindow) -> GateState:
        """Take in the next window and return what is known now."""
        self.state = self._while_speaking(window) if self.state.speaking else self._while_silent(window)
        return self.state

    def _while_silent(self, window: VadWindow) -> GateState:
        before = self.state
        if window.probability < self._on:
            self._run = 0
        else:
            if self._run == 0:
                self._run_begin_samples = window.end_samples - WINDOW_SAMPLES
            self._run += 1
        if self._run < self._start_windows:
            return GateState(False, before.onset_samples, before.last_voiced_samples, self._silence_ms(window))
        self._quiet = 0
        onset_samples = max(before.last_voiced_samples or 0, self._run_begin_samples - self._ONSET_LEAD_SAMPLES)
        return GateState(True, onset_samples, window.end_samples, 0, GateChange.BEGAN)

    def _while_speaking(self, window: VadWindow) -> GateState:
        onset_samples = self.state.onset_samples
        if window.probability >= self._off:
            self._quiet = 0
            return GateState(True, onset_samples, window.end_samples, 0)
        self._quiet += 1
        last_voiced_samples = self.state.last_voiced_samples
        if self._quiet < self._pause_windows:
            return GateState(True, onset_samples, last_voiced_samples, self._silence_ms(window))
        self._run = 0
        return GateState(False, onset_samples, last_voiced_samples, self._silence_ms(window), GateChange.PAUSED)

    def _silence_ms(self, window: VadWindow) -> int:
        last_voiced_samples = self.state.last_voiced_samples
        if last_voiced_samples is None:
            return 0
        return (window.end_samples - last_voiced_samples) * 1000 // SAMPLE_RATE_HZ


__all__ = [
    "SAMPLE_RATE_HZ",
    "WINDOW_MS",
    "WINDOW_SAMPLES",
    "GateChange",
    "GateState",
    "SileroModel",
    "SpeechGate",
    "VadWindow",
    "VoiceActivityDetector",
    "silero_path",
]

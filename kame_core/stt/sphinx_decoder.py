"""How pocketsphinx is made to read speech: which decoder reads what, when, and whose reading counts.

Measured on real and synthetic speech, these are what its accuracy hangs on:

- **Cepstral mean.** In streaming, pocketsphinx starts from a mean of its own and adapts after 8 s: 52 % word errors on
  real speech. With the mean of the utterance itself: 24 %. So a pause is read again as a whole (`full_utt`), and
  streams for partial readings begin with the mean of what has been heard, and begin anew as it becomes better known.
- **Noise floor.** The acoustic model never met digital silence. Sound from noise suppressors, muted microphones and
  synthesisers reads 51 % wrong as it is and 13 % with noise 30 dB below the speech; real rooms have that already, and
  more harms them. So noise is added only up to that level.
- **Language model.** The question model (`questions.py`) reads what the offline responder knows at a tenth of the work
  and a third of the errors of the general one; the general one reads everything else.

Who reads a pause: first the question model. Its reading counts at once if the decoder's posterior is sure of it, or if
it explains the sound about as well as a loop of free phones does, which knows no words at all (a usual confidence
measure: Young 1994, "Detecting misrecognitions and out-of-vocabulary words"). Otherwise the general model reads as
well and the better path score wins. The general model costs 0.3-0.6 of a core, so it runs during speech only where the
question model has already failed to explain the beginning; then most of its work is done when the pause comes.

Everything here is plain and synchronous, cut into slices of some 50 ms of work, so that a process can look for new
sound in between.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np

from kame_core.audio import Samples
from kame_core.stt.question_model import ModelFiles, acoustic_model_folder
from kame_core.stt.sphinx_stream import SAMPLE_RATE_HZ, CepstralMean, Path, Stream, Utterance

_SLICE_SAMPLES = SAMPLE_RATE_HZ // 10
_FIRST_LOOK_SAMPLES = SAMPLE_RATE_HZ * 65 // 100
"""Of which the pre-roll is 0.3 s: too little to know the mean well, enough for first words."""
_LAST_LOOK_SAMPLES = 12 * SAMPLE_RATE_HZ
"""Up to here the question model reads the whole again; nobody asks the responder anything longer."""
_GENERAL_FROM_SAMPLES = SAMPLE_RATE_HZ * 13 // 10
_NEW_SPEECH_SAMPLES = SAMPLE_RATE_HZ * 3 // 10
"""Sound after a pause that counts as more speech: the voice gate's tail is shorter."""
_SURE_POSTERIOR = 0.04
_SURE_MARGIN = -11.0
"""Question path against free phones, score per frame, from which it counts at once."""
_DOUBT_MARGIN = -12.0
"""The same during speech, below which the general model begins to read along."""
_GENERAL_MARGIN = -1.5
"""By how much the general path must be better than the question path: its language model spreads itself thinner."""
_GENERAL_FLOOR_BELOW_SPEECH = 1e-3
"""30 dB: with more, real rooms are read worse."""
_SAME_MEAN = 15.0
"""Sum of differences over 13 coefficients up to which a reading is not worth repeating."""
_PRIOR_SAMPLES = SAMPLE_RATE_HZ
"""How much sound the mean of the caller's earlier utterances is worth."""
_LAG_SAMPLES = SAMPLE_RATE_HZ // 2
_NEVER = 1 << 62
_WORD_PENALTY = 0.3
"""For the question model: with pocketsphinx's 0.65 short words creep in."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was understood of the utterance."""

    text: str
    by: str = "questions"
    """Which language model's reading it is: `questions` or `general`."""


class SphinxDecoder:
    """Reads one utterance after another.

    Args:
        files: the question model.
        general: also load the general model (0.4 s, 100 MB); without it only questions are understood.
    """

    def __init__(self, files: ModelFiles, *, general: bool = True) -> None:
        folder = acoustic_model_folder()
        questions = {"lm": str(files.language_model), "dict": str(files.dictionary), "wip": _WORD_PENALTY}
        self._question = Stream(**questions)
        self._whole = Stream(**questions)
        self._phones = Stream(allphone=str(folder / "en-us-phone.lm.bin"), lm=None, dict=None)
        self._general = Stream() if general else None
        self._utterance = Utterance()
        self._prior: CepstralMean | None = None
        self._mean: CepstralMean | None = None
        self._reset()

    def push(self, samples: Samples) -> None:
        """Add speech, float32 [n] mono 16 kHz; reading it is left to `work` and `settle`."""
        self._utterance.append(samples)

    def commit(self) -> None:
        """Forget the utterance; what comes next is a new one. Only its cepstral mean is kept: voice and microphone."""
        if self._mean is not None:
            self._prior = self._mean if self._prior is None else (self._prior + self._mean) / 2.0
        self._reset()

    def _reset(self) -> None:
        self._stop()
        self._utterance.clear()
        self._mean = None
        self._look_at = _FIRST_LOOK_SAMPLES
        self._general_wanted = False
        self._settled: Reading | None = None
        self._settled_end = 0
        self._partial = ""
        self._read_until = 0

    @property
    def partial(self) -> str:
        """The reading so far, of what `work` has got through."""
        return self._partial

    # --- while somebody speaks ---

    def work(self) -> bool:
        """Do a slice of the reading; False if there is nothing to do until more is pushed."""
        end = self._utterance.end
        if self._settled is not None:
            if end - self._settled_end < _NEW_SPEECH_SAMPLES:
                return False
            self._settled = None
            self._restart()
        if self._utterance.size >= self._look_at:
            return self._look()
        if self._advance(self._question, end):
            self._choose_partial()
            return True
        if self._advance(self._phones, end):
            self._doubt()
            return True
        if self._general is not None and self._advance(self._general, end):
            self._choose_partial()
            return True
        return False

    def _look(self) -> bool:
        """Read all so far as a whole, to know its mean; where that is news, the streams begin anew with it."""
        sound = self._utterance
        if not sound.measure():
            self._look_at = sound.size + _FIRST_LOOK_SAMPLES
            return False
        path = self._whole.read_whole(sound, sound.begin, sound.end)
        self._mean = self._whole.mean
        if self._prior is not None:
            weight = sound.size / (sound.size + _PRIOR_SAMPLES)
            self._mean = weight * self._mean + (1.0 - weight) * self._prior
        self._look_at = 2 * sound.size if 2 * sound.size <= _LAST_LOOK_SAMPLES else _NEVER
        self._partial = path.text or self._partial
        if not self._question.running or _differ(self._question.mean, self._mean):
            self._restart()
        return True

    def _restart(self) -> None:
        if self._mean is None:
            return
        begin = self._utterance.begin
        self._read_until = max(self._read_until, self._question.position)
        self._question.start(self._mean, begin)
        self._phones.start(self._mean, begin)
        if self._general is not None and self._general_wanted:
            self._general.start(self._mean, begin)

    def _advance(self, stream: Stream, end: int) -> bool:
        if not stream.running or end - stream.position < _SLICE_SAMPLES:
            return False
        stream.feed(self._utterance, stream.position + _SLICE_SAMPLES)
        return True

    def _doubt(self) -> None:
        """Let the general model read along if the question model does not explain the sound."""
        if self._general is None or self._general_wanted or self._mean is None:
            return
        if self._phones.position < _GENERAL_FROM_SAMPLES or self._phones.position != self._question.position:
            return
        if self._question.path().score - self._phones.path().score < _DOUBT_MARGIN:
            self._general_wanted = True
            self._general.start(self._mean, self._utterance.begin)

    def _choose_partial(self) -> None:
        if self._question.position < self._read_until:
            return  # it reads anew what is shown already
        path = self._question.path()
        general = self._general
        if general is not None and general.running and self._question.position - general.position < _LAG_SAMPLES:
            other = general.path()
            path = other if other.score > path.score else path
        self._partial = path.text or self._partial

    # --- at a pause ---

    def settle(self) -> Iterator[Reading | None]:
        """Read all that was pushed as well as possible: None after each slice of work, at last the reading."""
        sound = self._utterance
        end = sound.end
        if self._settled is not None and end - self._settled_end < _NEW_SPEECH_SAMPLES:
            yield self._settled
            return
        if not sound.measure():
            yield self._remember(Reading(""), end)
            return
        if sound.size <= _LAST_LOOK_SAMPLES or not self._question.running:
            question = self._whole.read_whole(sound, sound.begin, end)
            self._mean = self._whole.mean
            yield None
        else:
            question = yield from self._read_on(self._question, end)
        if self._general is None or question.posterior >= _SURE_POSTERIOR:
            yield self._remember(Reading(question.text), end)
            return
        phones = yield from self._read_on(self._phones, end)
        if question.score - phones.score >= _SURE_MARGIN:
            yield self._remember(Reading(question.text), end)
            return
        if sound.size <= _LAST_LOOK_SAMPLES:  # a third fewer errors than its stream, for half the utterance's length
            sound.measure(_GENERAL_FLOOR_BELOW_SPEECH)
            general = self._general.read_whole(sound, sound.begin, end)
            sound.measure()
            yield None
        else:
            general = yield from self._read_on(self._general, end)
        better = general.score - question.score > _GENERAL_MARGIN
        yield self._remember(Reading(general.text, "general") if better else Reading(question.text), end)

    def _remember(self, reading: Reading, end: int) -> Reading:
        self._stop()
        self._settled, self._settled_end, self._partial = reading, end, reading.text
        self._read_until = end
        return reading

    def _read_on(self, stream: Stream, end: int) -> Generator[None, None, Path]:
        """Read to the end; from the beginning where the stream's mean turned out to be wrong."""
        mean = self._whole.mean if self._mean is None else self._mean
        if not stream.running or _differ(stream.mean, mean):
            stream.start(mean, self._utterance.begin)
        while stream.position < end:
            stream.feed(self._utterance, min(end, stream.position + _SLICE_SAMPLES))
            yield None
        return stream.finish()

    def _stop(self) -> None:
        for stream in (self._question, self._phones, self._general):
            if stream is not None:
                stream.stop()


def _differ(one: CepstralMean, other: CepstralMean) -> bool:
    return float(np.abs(one - other).sum()) > _SAME_MEAN


__all__ = ["Reading", "SphinxDecoder"]

"""The embedded front end for a CPU: an immediate opener, then the oracle's words through a text-to-speech voice."""

from collections.abc import Sequence

from kame_core.clock import Clock
from kame_core.frontend.base import FrontendTraits, OracleUpdate, SlotInput, SlotOptions, SlotOutput, UserState
from kame_core.frontend.host import LocalHost
from kame_core.frontend.reflex.clips import OpenerClips
from kame_core.frontend.reflex.slot import ReflexSlot, voice_of
from kame_core.frontend.reflex.synthesis import LoopSynthesiser, Synthesiser
from kame_core.tts.base import TextToSpeech


class ReflexEngine:
    """`SlotEngine` whose step only moves finished samples; synthesis happens in `synthesiser`.

    Args:
        synthesiser: turns texts into sound elsewhere; not closed with this.
        capacity: slots. One costs about 0.05 ms a tick while it speaks.
    """

    traits = FrontendTraits(
        name="reflex",
        takes_turns=False,
        follows_oracle=True,
        speaks_on_demand=True,
        hears_text=True,
        oracle_style="continuation",
    )

    def __init__(self, synthesiser: Synthesiser, capacity: int = 32) -> None:
        self.capacity = capacity
        self.clips = OpenerClips(synthesiser)
        self._synthesiser = synthesiser
        self._slots: dict[int, ReflexSlot] = {}

    def open(self, slot: int, options: SlotOptions) -> None:
        """Begin with a fresh state; a new voice's openers are ordered now."""
        self.clips.prepare(voice_of(options))
        self._slots[slot] = ReflexSlot(slot, options, self._synthesiser, self.clips)

    def close(self, slot: int) -> None:
        """End."""
        state = self._slots.pop(slot, None)
        if state is not None:
            state.close()

    def feed(self, slot: int, oracle: tuple[OracleUpdate, ...], user: UserState | None) -> None:
        """`user` is taken in before `oracle`."""
        self._slots[slot].feed(oracle, user)

    def step(self, inputs: Sequence[SlotInput]) -> Sequence[SlotOutput]:
        """One tick; the mic is not listened to."""
        self.clips.tick()
        return [self._slots[given.slot].step() for given in inputs]

    def shutdown(self) -> None:
        """Nothing to free."""


async def reflex_host(
    tts: TextToSpeech, capacity: int = 32, *, clock: Clock | None = None, parallel: int = 2
) -> LocalHost:
    """A host with a reflex front end whose openers are ready.

    Args:
        tts: the voice; closed with the host.
        capacity: conversations at a time.
        clock: None: on a thread of its own, in real time. A clock: inline on the running loop, in that clock's time;
            give `tts` `InlineWorkers` in virtual time.
        parallel: phrases synthesised at a time.

    Raises:
        KameError: the voice does not work; nothing is left open but `tts`.
    """
    synthesiser = LoopSynthesiser(tts, parallel=parallel)
    try:
        engine = ReflexEngine(synthesiser, capacity)
        engine.clips.prepare("")
        await synthesiser.idle()
        failure = engine.clips.failure("")
        if failure is not None:
            raise failure
    except BaseException:
        await synthesiser.aclose()
        raise
    closers = (synthesiser.aclose, tts.aclose)
    if clock is None:
        return LocalHost.threaded(engine, then_close=closers)
    return LocalHost.inline(engine, clock, then_close=closers)

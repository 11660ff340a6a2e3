"""Command line of the comparison.

python -m kame_core.compare                                      embedded engines, no network
python -m kame_core.compare --base-url http://localhost:11434/v1 --ear known
python -m kame_core.compare --base-url ... --open --judge-model big-model --ear known
python -m kame_core.compare --frontend moshi --moshi-weights SakanaAI/kame --base-url ... --ear known
"""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from kame_core.backend.base import ChatModel
from kame_core.backend.llm_servers import LlmSettings
from kame_core.backend.offline import OfflineResponder
from kame_core.clock import RealClock
from kame_core.compare.judge import Judge
from kame_core.compare.known_speech import KnownSpeechToText
from kame_core.compare.questions import EXACT, OPEN, Question, load_questions
from kame_core.compare.report import Prices, Setting, cost_table, quality_table, timing_table, write
from kame_core.compare.run import compare
from kame_core.compare.trial import Row
from kame_core.engines import Engines
from kame_core.errors import InvalidRequestError, KameError, UnavailableError
from kame_core.frontend.base import FrontendHost
from kame_core.frontend.reflex import reflex_host
from kame_core.options import Mode
from kame_core.stt.base import SpeechToText
from kame_core.tts.espeak import EspeakTextToSpeech
from kame_core.vad import SileroModel
from kame_core.wording import EnglishWording
from kame_core.workers import ThreadWorkers

_DEFAULT_KEY_VARIABLE = "OPENAI_API_KEY"
_FETCH_DEADLINE_S = 3600.0


def parser() -> argparse.ArgumentParser:
    """The flags."""
    flags = argparse.ArgumentParser(
        prog="python -m kame_core.compare",
        description="Ask the same spoken questions in the modes tandem, direct and cascaded, and compare latency and "
        "quality of the answers. Runs in real time: about six seconds a turn and mode.",
    )
    flags.add_argument("--base-url", default="", help="OpenAI-compatible server; without it: the offline responder")
    flags.add_argument("--model", default="", help="model of that server; default: its first")
    flags.add_argument(
        "--api-key-variable",
        default=_DEFAULT_KEY_VARIABLE,
        metavar="NAME",
        help="environment variable that holds the servers' key (default: %(default)s)",
    )
    flags.add_argument(
        "--ear",
        default="pocketsphinx",
        help="pocketsphinx; known: every word is understood; or a Whisper model's directory (default: %(default)s)",
    )
    flags.add_argument(
        "--frontend",
        choices=("reflex", "moshi"),
        default="reflex",
        help="what speaks in tandem and direct: reflex (embedded) or moshi (GPU); cascaded is always reflex's "
        "(default: %(default)s)",
    )
    flags.add_argument(
        "--moshi-weights",
        default="SakanaAI/kame",
        metavar="PLACE",
        help="checkpoint of the moshi front end: a Hugging Face repository, or a directory (default: %(default)s)",
    )
    flags.add_argument(
        "--moshi-device",
        default="auto",
        metavar="NAME",
        help="where it computes: auto, cpu, cuda (default: %(default)s)",
    )
    flags.add_argument("--voice", default="", help="voice of the user: a name of espeak-ng's")
    flags.add_argument("--questions", type=Path, help="file of JSON lines with turns and answers")
    flags.add_argument("--open", action="store_true", help="two-turn questions without one right answer, for a judge")
    flags.add_argument("--limit", type=int, default=0, help="ask only so many questions")
    flags.add_argument("--runs", type=int, default=1, help="ask each so often, for a mean (the paper: 6 times)")
    flags.add_argument("--modes", default="direct,tandem,cascaded", help="which, separated by commas")
    flags.add_argument("--judge-model", default="", help="model that grades open questions")
    flags.add_argument("--judge-base-url", default="", help="its server; default: --base-url")
    flags.add_argument("--input-price", type=float, default=0.0, help="per million tokens, for the cost per minute")
    flags.add_argument("--output-price", type=float, default=0.0, help="the same for what the LLM writes")
    flags.add_argument("--out", type=Path, default=Path("compare"), help="folder of the report (default: %(default)s)")
    return flags


def questions_of(arguments: argparse.Namespace) -> tuple[Question, ...]:
    """What to ask.

    Raises:
        InvalidRequestError: the file of questions is no good, or there would be none.
    """
    questions = load_questions(arguments.questions) if arguments.questions else OPEN if arguments.open else EXACT
    if arguments.limit < 0:
        raise InvalidRequestError("--limit has to be 1 or more.")
    if arguments.runs < 1:
        raise InvalidRequestError("--runs has to be 1 or more.")
    runs: int = arguments.runs
    return questions[: arguments.limit or None] * runs


def modes_of(text: str) -> tuple[Mode, ...]:
    """The modes to compare.

    Raises:
        InvalidRequestError: one of them does not exist.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = [mode.value for mode in Mode]
    wrong = [name for name in names if name not in known]
    if wrong or not names:
        raise InvalidRequestError(f"--modes takes {', '.join(known)}; not {', '.join(wrong) or 'nothing'}.")
    return tuple(Mode(name) for name in dict.fromkeys(names))


def chat_model(base_url: str, model: str, key: str) -> ChatModel:
    """The LLM at a server."""
    from kame_core.backend.llm import OpenAIChatModel  # half a second; the embedded run does without

    return OpenAIChatModel(LlmSettings(base_url=base_url, api_key=key, model=model))


async def _chat(arguments: argparse.Namespace, key: str) -> ChatModel:
    if arguments.base_url:
        return chat_model(arguments.base_url, arguments.model, key)
    responder = OfflineResponder()
    loading = ThreadWorkers("loading")
    try:
        await loading.run(responder.load)
    finally:
        loading.close()
    return responder


def ear(name: str) -> SpeechToText:
    """The recogniser.

    Raises:
        InvalidRequestError: it is neither a known name nor a directory.
    """
    if name == "known":
        return KnownSpeechToText()
    if name == "pocketsphinx":
        from kame_core.stt.pocketsphinx import PocketsphinxSpeechToText

        return PocketsphinxSpeechToText()
    if not Path(name).is_dir():
        raise InvalidRequestError(f"--ear {name}: take pocketsphinx, known, or the directory of a Whisper model.")
    from kame_core.stt.faster_whisper import FasterWhisperSpeechToText

    return FasterWhisperSpeechToText(name)


async def moshi_host(weights: str, device: str) -> FrontendHost:
    """A speech-to-speech model for one conversation at a time.

    Raises:
        KameError: it cannot be had, or does not run here.
    """
    try:
        from kame_core.frontend.moshi.load import MoshiOptions, load_moshi
    except ImportError as error:
        raise UnavailableError(
            f"The moshi front end needs packages that are not here ({error.name}). "
            "Run make run-gpu once (Ctrl-C when it serves)."
        ) from error
    loaded = await load_moshi(MoshiOptions(weights, device, slots=1), lambda _: None, _FETCH_DEADLINE_S)
    if not loaded.in_real_time:
        _say(f"A step takes {loaded.times.p95_ms:.0f} ms, more than the 80 ms there are: speech will break up.")
    return loaded.host


@asynccontextmanager
async def open_engines(
    chat: ChatModel, stt: SpeechToText, frontend: FrontendHost | None = None
) -> AsyncIterator[Engines]:
    """One conversation's worth of engines around an LLM and an ear.

    Args:
        frontend: takes turns itself, so that a reflex stands beside it for `cascaded`; None: the reflex alone.
    """
    reflex = await reflex_host(EspeakTextToSpeech(), 1)
    hearing = ThreadWorkers("hearing")
    engines = Engines(
        frontend=frontend or reflex,
        stt=stt,
        vad=SileroModel(),
        chat=chat,
        clock=RealClock(),
        hearing=hearing,
        ending=await hearing.run(EnglishWording),
        cascade=None if frontend is None else reflex,
    )
    try:
        yield engines
    finally:
        await engines.aclose()


async def run(arguments: argparse.Namespace, key: str) -> None:
    """Compare, print, write.

    Raises:
        KameError: a flag is wrong or an engine failed.
    """
    questions, modes = questions_of(arguments), modes_of(arguments.modes)
    if arguments.judge_model and not (arguments.judge_base_url or arguments.base_url):
        raise InvalidRequestError("--judge-model needs --judge-base-url or --base-url: where is that model?")
    chat = await _chat(arguments, key)
    judge: ChatModel | None = None
    if arguments.judge_model:
        judge = chat_model(arguments.judge_base_url or arguments.base_url, arguments.judge_model, key)
    asker = EspeakTextToSpeech(arguments.voice) if arguments.voice else EspeakTextToSpeech()
    setting = Setting(
        llm=f"{arguments.model or 'first model'} at {arguments.base_url}"
        if arguments.base_url
        else "offline responder",
        ear=arguments.ear if arguments.ear in ("known", "pocketsphinx") else "faster-whisper",
        voice="espeak-ng",
        frontend=f"moshi ({arguments.moshi_weights})" if arguments.frontend == "moshi" else "reflex",
        judge=arguments.judge_model,
        prices=Prices(arguments.input_price, arguments.output_price),
    )
    try:
        stt = ear(arguments.ear)
        frontend = None
        if arguments.frontend == "moshi":
            frontend = await moshi_host(arguments.moshi_weights, arguments.moshi_device)
        async with open_engines(chat, stt, frontend) as engines:
            grades = None if judge is None else Judge(judge)
            result = await compare(engines, asker, questions, modes, setting, judge=grades, tell=_print_row)
    finally:
        await asker.aclose()
        if judge is not None:
            await judge.aclose()
    write(result, arguments.out)
    _say(f"\n{quality_table(result)}\n\n{timing_table(result)}\n\n{cost_table(result)}\n")
    _say(f"Written to {arguments.out / 'compare.md'}")


def _print_row(row: Row) -> None:
    score = "" if row.score is None else f"{row.score:4.1f}  "
    latency = "  (silent)" if row.first_sound_ms is None else f"{row.first_sound_ms:7.0f} ms"
    _say(f"{row.mode:9s} {latency}  {score}{row.question} -> {row.answer}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 2 with one line that says what is wrong."""
    arguments = parser().parse_args(argv)
    try:
        asyncio.run(run(arguments, os.environ.get(arguments.api_key_variable, "")))
    except KameError as error:
        sys.stderr.write(f"{error.user_message}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

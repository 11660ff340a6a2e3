"""Latency of an answer on the moshi front end through real WebRTC: end of the question to the first sound of what the
LLM wrote, with a checkpoint that says what it reads as soon as it reads it (`moshi_reader`).

A server process, a local OpenAI-compatible server as the LLM, an aiortc client on loopback. `full` has the size of
Moshi 7B and Mimi, in 16 bit, and needs a GPU and 20 GB of disk; `reduced` shows on any CPU that the way works.

    python -m tests.bench.moshi_latency [--size full] [--slots 1] [--questions 10] [--out docs/bench]
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import torch

from kame_core.latency import percentile
from kame_core.phrasing import normalised
from tests.bench.moshi_capacity import machine_of
from tests.bench.moshi_reader import write_reader
from tests.bench.turn_latency import ANSWER, TOKEN_DELAY_S, TURN_DEADLINE_S, ask, first_sound_s, trimmed
from tests.support.openai_server import Behaviour, Messages, OpenAIServer
from tests.support.rtc_client import RtcClient
from tests.support.server import server_process
from tests.support.speech import say
from tests.support.spoken_questions import FORESEEN

FIRST_TOKEN_MS = 400
LOAD_DEADLINE_S = 300.0
STAMPS = ("asked_ms", "first_token_ms", "adopted_ms", "first_oracle_audio_ms")
PAUSE_S = 3.5
"""Between questions: a turn of the agent is over after 3 s of silence."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One question; ms after its end."""

    way: str
    """`typed` or `spoken`."""
    first_audio_ms: float
    """Heard by the client."""
    asked_ms: int
    first_token_ms: int
    adopted_ms: int
    first_oracle_audio_ms: int
    """This and the three before it by the server's clock."""


async def type_question(client: RtcClient, question: str) -> float | None:
    """Ask in text; when the answer was first heard, in ms after the question was sent."""
    seen = len(client.events)
    content = [{"type": "input_text", "text": question}]
    asked_s = time.monotonic()
    client.send({"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}})
    client.send({"type": "response.create"})
    try:
        await client.event(
            "response.done", TURN_DEADLINE_S, after=seen, where=lambda event: event["response"]["status"] == "completed"
        )
    except AssertionError:
        return None
    first_s = first_sound_s(client, asked_s)
    return None if first_s is None else 1000 * (first_s - asked_s)


async def speak_question(client: RtcClient, question: str) -> float | None:
    """Ask aloud; when the answer was first heard, in ms after the question's last sound."""
    turn = await ask(client, "tandem", FIRST_TOKEN_MS, question, trimmed(say(question)))
    return None if turn is None else turn.first_audio_ms


WAYS = {"typed": type_question, "spoken": speak_question}


def answer(messages: Messages) -> str:
    """Nothing before the whole question is there: the model would say at once what it is given."""
    return ANSWER if normalised(messages[-1]["content"]) in {normalised(question) for question in FORESEEN} else ""


async def converse(base_url: str, way: str, questions: int) -> AsyncIterator[Answered]:
    """One call, all questions; those that were not answered are printed and left out."""
    async with RtcClient() as client:
        await client.connect_http(base_url)
        await asyncio.sleep(1.0)
        for question in FORESEEN[:questions]:
            seen = len(client.events)
            first_audio_ms = await WAYS[way](client, question)
            if first_audio_ms is None:
                print(f"{way}: no answer to: {question}")
                continue
            timing = await client.event("kame.turn.timing", 2.0, after=seen)
            stamps = {name: timing[name] for name in STAMPS}
            if None in stamps.values():
                print(f"{way}: not answered from the oracle: {question}")
            else:
                yield Answered(way, first_audio_ms, **stamps)
            await asyncio.sleep(PAUSE_S)
        await client.delete()  # frees its place at once, for the other way


async def measure(folder: Path, slots: int, questions: int) -> list[Answered]:
    """All questions in both ways, put to a server that runs this checkpoint."""
    answered: list[Answered] = []
    behaviour = Behaviour(first_token_delay_s=FIRST_TOKEN_MS / 1000, token_delay_s=TOKEN_DELAY_S)
    async with OpenAIServer(answer, behaviour=behaviour) as llm:
        environment = {
            "OPENAI_BASE_URL": llm.base_url,
            "OPENAI_API_KEY": "none",
            "KAME_STT": "pocketsphinx",
            "KAME_FRONTEND": "moshi",
            "KAME_MOSHI_WEIGHTS": str(folder),
            "KAME_MOSHI_SLOTS": str(slots),
        }
        async with server_process("--port", "0", environment=environment) as server:
            await server.line("Ready:", timeout_s=LOAD_DEADLINE_S)
            for way in WAYS:
                async for one in converse(server.base_url, way, questions):
                    print(one)
                    answered.append(one)
    return answered


REPORT = """# Latency on the moshi front end

Measured on {today} by `python -m tests.bench.moshi_latency --size {size} --slots {slots}`, on {machine},
PyTorch {torch}; server, LLM stand-in and client on one machine.
{model}

Its weights are random but for those that make it say what it reads, at once, and nothing else. What a trained model
takes to begin to speak is thus left out; all the rest of the way is there: WebRTC, speech-to-text, the LLM (first
token after {first_token} ms), the oracle, Mimi and the language model, WebRTC. A step computes all slots, however many
calls there are.

Milliseconds, median and 95th percentile. *First sound*: from the end of the question (the last sound sent, or the
message with its text) to the first sound of the answer at the client. The others are times of the server: *LLM asked*
after the end of the question, *adopted* (two whole words) after the LLM's first token, *oracle heard* (its first word
left for the client) after adoption.

| question | answers | first sound | LLM asked | adopted | oracle heard |
|---|---|---|---|---|---|
{rows}

The LLM stand-in answers whole questions only: an oracle that comes while the user still speaks would be said at once by
this model, other than by a trained one.
"""
MODELS = {
    "full": "A model in the size of Moshi 7B with KAME's oracle embedding, and of Mimi, in 16 bit.",
    "reduced": "A model of reduced size (dim 256, 4 layers; a Mimi of 0.1 M parameters) in 32 bit: this shows what "
    "everything around the model takes, and nothing about the real one.",
}


def table_row(answered: list[Answered], way: str) -> str:
    """One way's row of the report's table."""
    mine = [one for one in answered if one.way == way]
    columns = (
        [one.first_audio_ms for one in mine],
        [float(one.asked_ms) for one in mine],
        [float(one.adopted_ms - one.first_token_ms) for one in mine],
        [float(one.first_oracle_audio_ms - one.adopted_ms) for one in mine],
    )
    cells = [f"{percentile(values, 50):.0f} / {percentile(values, 95):.0f}" for values in columns]
    return f"| {' | '.join((way, str(len(mine)), *cells))} |"


def report(answered: list[Answered], size: str, slots: int, device: torch.device, folder: Path) -> None:
    """Write table and raw figures."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "moshi-latency.json").write_text(json.dumps([asdict(one) for one in answered], indent=1) + "\n")
    (folder / "moshi-latency.md").write_text(
        REPORT.format(
            today=date.today().isoformat(),
            size=size,
            slots=slots,
            machine=machine_of(device),
            torch=torch.__version__.split("+")[0],
            model=MODELS[size],
            first_token=FIRST_TOKEN_MS,
            rows="\n".join(table_row(answered, way) for way in WAYS),
        )
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", choices=("full", "reduced"), default="full" if device.type == "cuda" else "reduced")
    parser.add_argument("--slots", type=int, default=1, help="that every step computes; one of them is used")
    parser.add_argument("--questions", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("docs/bench"))
    options = parser.parse_args()
    if device.type == "cpu":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))  # as the server does
    with tempfile.TemporaryDirectory() as folder:
        write_reader(Path(folder), options.size, device)
        answered = asyncio.run(measure(Path(folder), options.slots, options.questions))
    report(answered, options.size, options.slots, device, options.out)


if __name__ == "__main__":
    main()

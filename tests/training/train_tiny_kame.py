"""Trains the checkpoint in tests/assets/tiny_kame: `python -m tests.training.train_tiny_kame`, two minutes on one core.

A KAME of 0.8 M parameters that says its oracle word by word: the inner monologue is the oracle four steps (320 ms)
later, a new start id drops what is not said yet, and its voice codes are a fixed function of its text. What the user
says it ignores. It shows that the oracle reaches text and voice; nothing about how real weights talk.
"""

import argparse
import logging
import math
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import save_file
from torch import Tensor

from kame_core.frontend.moshi.tokenizer import MoshiTokenizer
from tests.support.tiny_moshi import (
    CODEBOOK_SIZE,
    LM,
    PAD_ID,
    SENTENCES,
    TEXT_CARD,
    TOKENIZER,
    WEIGHTS,
    build_lm,
    build_mimi,
    write_companions,
)

log = logging.getLogger("train_tiny_kame")

FOLDER = Path(__file__).parents[1] / "assets" / "tiny_kame"
DELAY_STEPS = 4
START_ID = TEXT_CARD
SILENCE_CODE = 0
ARGUMENTS = {
    **LM,
    "dim": 128,
    "num_heads": 4,
    "context": 32,
    "depformer_dim": 64,
    "depformer_dim_feedforward": 264,
}
_BATCH = 24
_SESSION_STEPS = 64
_PEAK_RATE = 2e-3
_WARM_UP_STEPS = 30
_WORD_WEIGHT = 3.0


def voice_codes(text: Tensor) -> Tensor:
    """Codes of the agent's voice for its text tokens [...]: int64 [..., dep_q], silence where it says nothing."""
    codebook = torch.arange(int(ARGUMENTS["dep_q"]))
    codes = (text[..., None] * 7 + codebook * 13) % (CODEBOOK_SIZE - 1) + 1
    return torch.where((text == PAD_ID)[..., None], SILENCE_CODE, codes)


def spoken_text(oracle: list[int]) -> list[int]:
    """What it shall say for the oracle tokens of its steps."""
    said = [PAD_ID] * len(oracle)
    for step in range(DELAY_STEPS, len(oracle)):
        token = oracle[step - DELAY_STEPS]
        if token not in (PAD_ID, START_ID) and START_ID not in oracle[step - DELAY_STEPS + 1 : step + 1]:
            said[step] = token
    return said


@dataclass(frozen=True, slots=True)
class Sessions:
    """Draws sessions: oracles as an LLM brings them, and users who talk or are silent."""

    words: range
    """Tokens that are text."""
    sentences: list[list[int]]
    random: random.Random

    def oracle(self) -> list[int]:
        """Oracle tokens of a session: candidates that begin, stall, are superseded; now and then long silence."""
        oracle: list[int] = [PAD_ID] * self.random.randint(0, 6)
        while len(oracle) < _SESSION_STEPS:
            oracle.append(START_ID)
            for token in self._text():
                oracle.append(token)
                if self.random.random() < 0.05:
                    oracle += [PAD_ID] * self.random.randint(1, 3)  # the LLM stalls
            oracle += [PAD_ID] * (self.random.randint(0, 9) if self.random.random() < 0.8 else 40)
        return oracle[:_SESSION_STEPS]

    def _text(self) -> list[int]:
        if self.random.random() < 0.5:
            return self.random.choices(self.words, k=self.random.randint(1, 13))
        sentence = self.random.choice(self.sentences)
        start = self.random.randrange(len(sentence))
        return sentence[start : start + self.random.randint(1, 20)]

    def user(self) -> list[list[int]]:
        """Codes of the user's voice: silence, talk, or one after the other."""
        streams = int(ARGUMENTS["n_q"]) - int(ARGUMENTS["dep_q"])
        talks_until = self.random.choice([0, _SESSION_STEPS, self.random.randrange(_SESSION_STEPS)])
        return [
            [
                self.random.randrange(CODEBOOK_SIZE) if step < talks_until else SILENCE_CODE
                for step in range(_SESSION_STEPS)
            ]
            for _ in range(streams)
        ]

    def batch(self) -> tuple[Tensor, Tensor]:
        """Codes [B, n_q + 1, T] and oracle tokens [B, T]."""
        oracles = [self.oracle() for _ in range(_BATCH)]
        text = torch.tensor([spoken_text(oracle) for oracle in oracles])
        user = torch.tensor([self.user() for _ in range(_BATCH)])
        return torch.cat([text[:, None], voice_codes(text).movedim(-1, 1), user], dim=1), torch.tensor(oracles)


def train(folder: Path, steps: int, seed: int = 0) -> None:
    """Train and write the checkpoint in 16 bit."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    config = {**ARGUMENTS, "moshi_name": WEIGHTS, "model_type": "moshi"}
    write_companions(folder, config, build_mimi(4, seed=seed), torch.float16)
    tokenizer = MoshiTokenizer(folder / TOKENIZER)
    sessions = Sessions(
        range(PAD_ID + 1, tokenizer.size), [tokenizer.encode(line) for line in SENTENCES], random.Random(seed)
    )
    lm = build_lm(ARGUMENTS, seed=seed).train()
    for parameter in lm.parameters():
        parameter.requires_grad_(True)
    log.info("%.2f M parameters, %d steps", sum(parameter.numel() for parameter in lm.parameters()) / 1e6, steps)
    optimizer = torch.optim.AdamW(lm.parameters(), lr=_PEAK_RATE, betas=(0.9, 0.95), weight_decay=0.01)
    own = slice(1, 1 + int(ARGUMENTS["dep_q"]))
    for step in range(steps):
        rate = min(1.0, (step + 1) / _WARM_UP_STEPS) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = _PEAK_RATE * rate
        codes, oracle = sessions.batch()
        # Step t of the generator is fed oracle token t; teacher forcing feeds token t - 1, as it does with text.
        fed = torch.cat([oracle[:, 1:], torch.full_like(oracle[:, :1], PAD_ID)], dim=1)
        output = lm(codes, oracle_tokens=fed[:, None])
        text = codes[:, 0]
        weight = torch.where(text == PAD_ID, 1.0, _WORD_WEIGHT)
        logits = output.text_logits[:, 0]
        text_loss = (F.cross_entropy(logits.transpose(1, 2), text, reduction="none") * weight).mean()
        voice_loss = F.cross_entropy(output.logits[output.mask], codes[:, own][output.mask])
        optimizer.zero_grad()
        (text_loss + voice_loss).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(lm.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 49:
            words = text != PAD_ID
            right = (logits.argmax(-1) == text)[words].float().mean()
            losses = text_loss.item(), voice_loss.item(), right.item()
            log.info("step %d: text %.4f, voice %.4f, words right %.3f", step + 1, *losses)
    with tempfile.TemporaryDirectory(dir=folder) as half_written:
        path = Path(half_written) / WEIGHTS
        save_file({name: tensor.detach().half().contiguous() for name, tensor in lm.state_dict().items()}, path)
        path.replace(folder / WEIGHTS)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    train(options.folder, options.steps)


if __name__ == "__main__":
    main()

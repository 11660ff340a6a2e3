"""Loading one of Kyutai's speech-to-text checkpoints, to listen to the codes of a front end's codec."""

from collections.abc import Callable
from pathlib import Path

import torch
from moshi.models.compression import MimiModel
from moshi.utils.compile import no_cuda_graph
from safetensors import safe_open
from torch import Tensor

from kame_core.audio import FRAME_SAMPLES
from kame_core.errors import UnavailableError
from kame_core.frontend.moshi.config import CheckpointError
from kame_core.frontend.moshi.headers import split_fused
from kame_core.frontend.moshi.memory import is_out_of_memory
from kame_core.frontend.moshi.oracle_lm import OracleLM, build_oracle_lm
from kame_core.frontend.moshi.safetensors_header import read_header
from kame_core.frontend.moshi.step_graph import StepRecorder
from kame_core.frontend.moshi.tokenizer import MoshiTokenizer
from kame_core.stt.kyutai_files import KyutaiFiles
from kame_core.stt.kyutai_listener import KyutaiListener
from kame_core.stt.kyutai_lm import SttBatch

_SILENCE_FRAMES = 25
"""After 2 s of it the codes of silence no longer change."""
_CODEBOOK_NAMES = ("embedding_sum", "embed_sum", "embed_avg")
"""Of the vectors of a codebook; the younger name first."""


class KyutaiModel:
    """A loaded model. It listens in one front end at a time.

    Args:
        files: from `locate_kyutai` or `fetch_kyutai`.
        device: the front end's, whose codes it hears.
        dtype: of its weights.

    Raises:
        CheckpointError: files are damaged or do not fit together.
        UnavailableError: there is no memory for it.
    """

    def __init__(self, files: KyutaiFiles, device: torch.device, dtype: torch.dtype) -> None:
        self.config = files.config
        self.slot_bytes = files.config.slot_bytes(dtype.itemsize)
        """Memory that each of a front end's slots takes here."""
        self._files = files
        self._tokenizer = MoshiTokenizer(files.tokenizer)
        if self._tokenizer.size > files.config.text_card:
            raise CheckpointError(
                f"{files.tokenizer.name} has {self._tokenizer.size} tokens, the speech-to-text model knows "
                f"{files.config.text_card}. Take the tokenizer of the same checkpoint."
            )
        try:
            self._lm = _load_lm(files, device, dtype)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise UnavailableError(
                f"The checkpoint {files.location} does not fit on {device}. End what else uses its memory.",
                code="out_of_memory",
                retryable=True,
            ) from error

    @property
    def foresees_turn_ends(self) -> bool:
        """It has an opinion about the end of a turn."""
        return len(self._lm.extra_heads) > 0

    def listen(self, mimi: MimiModel, capacity: int, recorder: StepRecorder | None = None) -> KyutaiListener:
        """Listen to a front end; the listener before must have been shut down.

        Args:
            mimi: the front end's codec, not streaming yet.
            capacity: the front end's slots.
            recorder: as for `SttBatch`.

        Raises:
            CheckpointError: the codec is not the one that the model was trained with.
            UnavailableError: there is no memory for so many slots.
        """
        self._require_codec(mimi)
        silence = _codes_of_silence(mimi)
        batch = SttBatch(self._lm, capacity, silence, prefix_frames=self.config.prefix_frames, recorder=recorder)
        return KyutaiListener(batch, self._tokenizer, self.config.paddings, self.config.delay_frames)

    def _require_codec(self, mimi: MimiModel) -> None:
        if mimi.total_codebooks < self._lm.n_q or mimi.cardinality != self._lm.card:
            raise CheckpointError(
                f"The front end's codec has {mimi.total_codebooks} codebooks of {mimi.cardinality}; the speech-to-text "
                f"model {self._files.location} hears {self._lm.n_q} of {self._lm.card}. Take another of the two."
            )
        if not _same_codebooks(mimi, self._files.mimi):
            raise CheckpointError(
                f"The speech-to-text model {self._files.location} was trained with another codec than the front "
                f"end's: the codebooks in {self._files.mimi.name} differ. Take another of the two."
            )


def _load_lm(files: KyutaiFiles, device: torch.device, dtype: torch.dtype) -> OracleLM:
    read_header(files.weights)  # tells a truncated file in plain words
    try:
        lm = build_oracle_lm(files.config.lm, device="meta", dtype=dtype, oracle=False)
    except (TypeError, ValueError, AssertionError, RuntimeError, AttributeError) as error:
        raise CheckpointError(
            f"No model can be built from the config.json of {files.location} ({str(error) or type(error).__name__}). "
            "Check it."
        ) from error
    names = lm.state_dict()
    weights: dict[str, Tensor] = {}
    with safe_open(files.weights, framework="pt", device=str(device)) as file:
        for name in file.keys():  # noqa: SIM118 # no mapping
            weights |= split_fused({name: file.get_tensor(name).to(dtype)}, names, _split)
    try:
        lm.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"{files.weights.name} does not fit its configuration: {error}") from error
    lm.eval()
    for parameter in lm.parameters():
        parameter.requires_grad_(False)
    return lm


def _split(tensor: Tensor, pieces: int) -> list[Tensor] | None:
    return None if tensor.shape[0] % pieces else list(tensor.chunk(pieces))


def _codes_of_silence(mimi: MimiModel) -> Tensor:
    """What digital silence is encoded to from the first frame on, int64 [all codebooks, frames]."""
    device = next(mimi.parameters()).device
    before = mimi.num_codebooks
    mimi.set_num_codebooks(mimi.total_codebooks)
    try:
        with torch.no_grad(), no_cuda_graph(), mimi.streaming(1):
            frame = torch.zeros(1, 1, FRAME_SAMPLES, device=device)
            codes = [mimi.encode(frame)[0] for _ in range(_SILENCE_FRAMES)]
    finally:
        mimi.set_num_codebooks(before)
    return torch.cat(codes, dim=1)


def _same_codebooks(mimi: MimiModel, path: Path) -> bool:
    """Two codecs with the same vectors in all their codebooks write the same language."""
    state = mimi.state_dict()
    ours = _codebooks(list(state), state.__getitem__)
    read_header(path)
    with safe_open(path, framework="pt") as file:
        theirs = _codebooks(list(file.keys()), file.get_tensor)
    return ours.keys() == theirs.keys() and all(
        vectors.shape == theirs[name].shape
        and torch.allclose(vectors.cpu().float(), theirs[name].float(), rtol=0.01, atol=1e-3)  # either may be 16 bit
        for name, vectors in ours.items()
    )


def _codebooks(names: list[str], read: Callable[[str], Tensor]) -> dict[str, Tensor]:
    """Vectors by the codebook's name."""
    found = {}
    for name in names:
        stem, _, last = name.rpartition(".")
        if last in _CODEBOOK_NAMES:
            found[stem] = read(name)
    return found

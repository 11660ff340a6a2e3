"""The GPU front end's packages are installed for every test run and fit together; without them this fails, not skips.

moshi is installed without its own pins (see requirements-gpu.txt): that it works with this torch is shown, not assumed.
"""

import importlib.metadata
import subprocess
import sys

import pytest

_STEP = """
import torch
from moshi.models import LMGen, LMModel

torch.manual_seed(0)
torch.set_num_threads(1)
model = LMModel(
    n_q=2, dep_q=1, card=16, text_card=32, dim=32, num_heads=2, num_layers=1, context=8, delays=[0, 0, 0], causal=True,
    gating="silu", norm="rms_norm_f32", positional_embedding="rope", depformer_dim=16, depformer_num_heads=2,
    depformer_num_layers=1, depformer_dim_feedforward=32, depformer_multi_linear=True, depformer_context=1,
    depformer_gating="silu", depformer_pos_emb="none", depformer_weights_per_step=True,
).eval()
generator = LMGen(model, use_sampling=False)
spoken = []
with torch.no_grad(), generator.streaming(1):
    for frame in range(6):
        codes = generator.step(torch.full((1, 1, 1), frame % 16))
        if codes is not None:
            spoken.append(codes[0, :, 0].tolist())
assert len(spoken) >= 5, spoken
assert all(0 <= token < 32 for tokens in spoken for token in tokens), spoken
print("ok")
"""


@pytest.mark.parametrize(("package", "version"), [("torch", "2.13.0"), ("moshi", "0.2.13")])
def test_pinned_versions_are_installed(package: str, version: str) -> None:
    assert importlib.metadata.version(package).split("+")[0] == version


def test_a_tiny_moshi_speaks_a_few_frames() -> None:
    """In its own process: torch's warnings and 200 MB stay out of the other tests."""
    run = subprocess.run(
        [sys.executable, "-c", _STEP],
        env={"NO_TORCH_COMPILE": "1", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.stdout.strip() == "ok", run.stderr[-2000:]

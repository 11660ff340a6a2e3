"""Word errors of the embedded recogniser: on questions of somebody who has not seen its templates, on real speech.

Every second question; all of them in every voice are in the benchmark.
"""

import pytest

from kame_core.stt.question_model import question_model
from kame_core.stt.questions import question_templates
from kame_core.stt.sphinx_decoder import SphinxDecoder
from tests.bench.stt_accuracy import error_rate, read, real, synthetic
from tests.support.spoken_questions import FORESEEN, HELD_OUT, VOICES

PLAIN, FAST, DEFAULT = VOICES[:3]
"""American voices: the acoustic model is American. Others, and what they cost, are in the benchmark's table."""


@pytest.fixture(scope="module")
def decoder() -> SphinxDecoder:
    return SphinxDecoder(question_model())


@pytest.mark.timeout(300)
def test_questions_of_somebody_who_has_not_seen_the_templates(decoder: SphinxDecoder) -> None:
    templates = question_templates(lambda word: True)
    asked = HELD_OUT[1::2]
    unforeseen = {text for text in asked if not any(template.accepts(text.split()) for template in templates)}
    assert len(unforeseen) >= len(asked) / 4
    plain = [read(decoder, spoken) for spoken in synthetic(asked, [PLAIN])]
    assert error_rate(plain) <= 0.12
    hard = [result for result in plain if result.spoken.text in unforeseen]
    hard += [read(decoder, spoken) for spoken in synthetic(sorted(unforeseen), [DEFAULT])]
    assert error_rate(hard) <= 0.18, "ways to ask that no template makes"


def test_questions_as_people_put_them(decoder: SphinxDecoder) -> None:
    spoken = [*synthetic(FORESEEN[::2], [PLAIN]), *synthetic(FORESEEN[1::2], [FAST])]
    assert error_rate([read(decoder, one) for one in spoken]) <= 0.08


@pytest.mark.recordings
@pytest.mark.timeout(300)
def test_real_recordings() -> None:
    spoken = real()
    if not spoken:
        pytest.skip("the real recordings (../shared/audio) are not here")
    assert error_rate([read(SphinxDecoder(question_model()), one) for one in spoken]) <= 0.25

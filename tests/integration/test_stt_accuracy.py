"""Word errors of the embedded recogniser: on questions its language model was not made from, and on real speech."""

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


def test_the_held_out_questions_are_really_held_out() -> None:
    templates = question_templates(lambda word: True)
    for question in HELD_OUT:
        assert not any(template.accepts(question.split()) for template in templates), question


@pytest.mark.timeout(300)
def test_questions_that_no_template_makes(decoder: SphinxDecoder) -> None:
    plain = [read(decoder, spoken) for spoken in synthetic(HELD_OUT, [PLAIN])]
    others = [read(decoder, spoken) for spoken in synthetic(HELD_OUT, [FAST, DEFAULT])]
    assert error_rate(plain) <= 0.18
    assert error_rate(plain + others) <= 0.22


def test_questions_as_people_put_them(decoder: SphinxDecoder) -> None:
    assert error_rate([read(decoder, spoken) for spoken in synthetic(FORESEEN, [PLAIN, FAST])]) <= 0.08


@pytest.mark.recordings
@pytest.mark.timeout(300)
def test_real_recordings() -> None:
    spoken = real()
    if not spoken:
        pytest.skip("the real recordings (../shared/audio) are not here")
    assert error_rate([read(SphinxDecoder(question_model()), one) for one in spoken]) <= 0.25

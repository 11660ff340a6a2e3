"""Which language a text is in."""

import pytest

from kame_core.languages import ENGLISH_NAMES, language_name, language_of, primary_code

SENTENCES = {
    "ar": "أين المحطة من فضلك",
    "cs": "Kde je nádraží, prosím?",
    "da": "Hvor er stationen, tak?",
    "de": "Wo ist bitte der Bahnhof?",
    "el": "Πού είναι ο σταθμός;",
    "en": "Where is the station, please?",
    "es": "¿Dónde está la estación, por favor?",
    "fi": "Missä asema on, kiitos?",
    "fr": "Où est la gare, s'il vous plaît ?",
    "he": "איפה התחנה בבקשה",
    "hi": "स्टेशन कहाँ है",
    "hu": "Hol van az állomás, kérem?",
    "id": "Di mana stasiunnya, tolong?",
    "it": "Dov'è la stazione, per favore?",
    "ja": "駅はどこですか",
    "ko": "역이 어디예요",
    "nl": "Waar is het station, alstublieft?",
    "no": "Hvor er stasjonen, takk?",
    "pl": "Gdzie jest dworzec, proszę?",
    "pt": "Onde fica a estação, por favor?",
    "ro": "Unde este gara, vă rog?",
    "ru": "Скажите, где этот вокзал?",
    "sv": "Var ligger stationen, tack?",
    "th": "สถานีอยู่ที่ไหน",
    "tr": "İstasyon nerede, lütfen?",
    "uk": "Скажіть, де цей вокзал?",
    "vi": "Nhà ga ở đâu, xin cảm ơn?",
    "zh": "车站在哪里",
}


@pytest.mark.parametrize(
    ("tag", "name"), [("en", "English"), ("pt_BR", "Portuguese"), ("ZH-hans", "Chinese"), ("xx", "xx")]
)
def test_names(tag: str, name: str) -> None:
    assert language_name(tag) == name


@pytest.mark.parametrize("language", ENGLISH_NAMES)
def test_a_sentence_is_told_from_every_other_language(language: str) -> None:
    others = [other for other in ENGLISH_NAMES if other != language]
    mistaken = [other for other in others if language_of(SENTENCES[language], (other, language)) != language]
    assert mistaken == []
    assert language_of(SENTENCES[language]) == language


@pytest.mark.parametrize("language", ENGLISH_NAMES)
def test_what_is_expected_stays_unless_the_words_plainly_say_otherwise(language: str) -> None:
    text = SENTENCES[language]
    for expected in ENGLISH_NAMES:
        found = language_of(text, expected=expected)
        assert found in (expected, language)
        if expected == language:
            assert found == language
    assert language_of(f"{text} {SENTENCES['en']}", expected="en") == "en", "a quotation"


def test_regions_count_as_their_language() -> None:
    assert language_of("Wo ist der Bahnhof?", ("en-GB", "de_AT")) == "de_AT"
    assert language_of("Wo ist der Bahnhof?", ("en-GB", "de_AT"), expected="en-GB") == "de_AT"
    assert [primary_code(tag) for tag in ("pt-BR", " DE_at ", "")] == ["pt", "de", ""]


@pytest.mark.parametrize("text", ["", "42", "Berlin, Tokyo.", "🙂", "Anna 7"])
def test_names_and_numbers_are_no_language(text: str) -> None:
    assert language_of(text, ("de", "en")) == ""
    assert language_of(text, ("de", "en"), expected="de") == "de"


def test_languages_nobody_described_are_not_guessed() -> None:
    assert language_of("Dobar dan, gdje je kolodvor?", ("hr", "sw")) == ""
    assert language_of("Where is the station?", ("hr", "en")) == "en"
    assert language_of("Where is the station?", ()) == ""

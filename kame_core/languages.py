"""Languages: their names, and which of a few a text is written in.

A text is told by its writing and by its most frequent words, a few dozen in each language. That needs no model and no
memory to speak of, and it knows what it does not know: names and numbers alone are no language.
"""

import re
from collections.abc import Iterable, Mapping

ENGLISH_NAMES: Mapping[str, str] = {
    "ar": "Arabic",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fi": "Finnish",
    "fr": "French",
    "he": "Hebrew",
    "hi": "Hindi",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sv": "Swedish",
    "th": "Thai",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
"""By language code (ISO 639-1)."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_WORDS: Mapping[str, frozenset[str]] = {
    "cs": _set(
        "je a v na že se to s z do jsem jsi jsou jsme byl byla bylo co kde kdy jak proč kdo kolik prosím děkuji dobrý "
        "den ano ne nebo ale pro jako tak ještě už jen mám máte chci můžete já ty on ona my vy dnes tady při od po "
        "který"
    ),
    "da": _set(
        "jeg du han hun vi de det den en et er var har og i på til af med for ikke hvad hvor hvornår hvordan hvem "
        "hvorfor kan skal vil tak ja nej men eller som om fra mig dig os jer min din her der meget også noget hej "
        "godt dag"
    ),
    "de": _set(
        "ich du er sie es wir ihr der die das den dem des ein eine einen einem einer ist sind war waren hat haben "
        "habe und oder aber nicht mit von zu zum zur auf für wo wann wie warum wer wieviel bitte danke ja nein kann "
        "können möchte mein dein auch noch hier dort heute guten tag im am um aus nach bei wird werden gibt sehr mir "
        "mich dich uhr"
    ),
    "en": _set(
        "i you he she it we they the a an is are was were has have had do does did and or but not with of to at for "
        "from where what when how why who which please thank thanks yes no can could would should will my your his "
        "her their this that there here today good morning in on it's i'm don't be been about very much me us"
    ),
    "es": _set(
        "yo tú él ella usted nosotros ellos el la los las un una unos es son está están era fue ha he hay y o pero no "
        "con de del al a en por para que qué dónde cuándo cómo quién cuánto cuesta gracias favor sí puede puedo "
        "quiero mi tu su muy también aquí hoy buenos días hola se lo le me te más como si ya tiene tengo hasta esta "
        "este"
    ),
    "fi": _set(
        "minä sinä hän me te he se on ovat oli olen olet ei en et ja tai mutta kun jos mitä missä milloin miten miksi "
        "kuka kiitos kyllä hyvää päivää voi voinko haluan minun sinun tämä tuo niin myös nyt täällä että kuin paljon "
        "mikä"
    ),
    "fr": _set(
        "je tu il elle nous vous ils le la les un une des du de est sont était ai as a avons avez ont et ou mais pas "
        "ne avec pour dans sur à au aux où quand comment pourquoi qui quel quelle que quoi merci oui non peux peut "
        "voudrais mon ma mes ton votre très aussi ici bonjour c'est j'ai d'un qu'est s'il plaît ce cette se en y plus "
        "combien"
    ),
    "hu": _set(
        "én te ő mi ti ők a az egy és vagy de nem van vannak volt hol mikor hogyan miért ki mennyi kérem köszönöm "
        "igen is hogy meg csak már még itt ott ma jó napot szeretnék lehet ez azt nagyon mit milyen kell mert ha"
    ),
    "id": _set(
        "saya anda kamu dia kami kita mereka yang di ke dari dan atau tetapi tidak dengan untuk adalah ini itu apa "
        "mana kapan bagaimana mengapa siapa berapa tolong terima kasih ya bisa mau ada sudah akan juga sangat hari "
        "selamat"
    ),
    "it": _set(
        "io tu lui lei noi voi loro il lo la i gli le un uno una è sono era ha ho hanno e o ma non con di del della "
        "dei a al alla in nel per da che cosa dove quando come perché chi quanto costa grazie sì posso può vorrei mio "
        "mia tuo molto anche qui oggi buongiorno ciao si mi ti ci più c'è dov'è questo questa favore"
    ),
    "nl": _set(
        "ik jij je hij zij ze wij we jullie het de een is zijn was waren heeft heb hebben en of maar niet met van te "
        "naar op voor bij waar wanneer hoe waarom wie wat hoeveel alstublieft dank bedankt ja nee kan kunt wil mijn "
        "jouw ook nog hier daar vandaag goede dag goedemorgen dat dit deze er om uit aan graag zeer mij u uw"
    ),
    "no": _set(
        "jeg du han hun vi de det den en et ei er var har og i på til av med for ikke hva hvor når hvordan hvem "
        "hvorfor kan skal vil takk ja nei men eller som om fra meg deg oss min din her der veldig også noe hei god "
        "dag"
    ),
    "pl": _set(
        "ja ty on ona my wy oni jest są był była było i a w na że się to z do co gdzie kiedy jak dlaczego kto ile "
        "proszę dziękuję dzień dobry tak nie lub albo ale dla jako jeszcze już tylko mam chcę mogę może tutaj dzisiaj "
        "od po przy"
    ),
    "pt": _set(
        "eu tu ele ela você nós eles o a os as um uma é são está estão era foi há tem tenho e ou mas não com de do da "
        "dos das em no na nos nas por para que onde quando como porquê quem quanto custa obrigado obrigada sim posso "
        "pode quero meu minha seu sua muito também aqui hoje bom dia olá se me te mais isso este esta ao à favor fica"
    ),
    "ro": _set(
        "eu tu el ea noi voi ei ele un o este sunt era a are am au și sau dar nu cu de la în pe pentru din ce unde "
        "când cum cine cât mulțumesc vă rog da pot poate vreau meu mea foarte și aici azi bună ziua că să mai se îmi "
        "acest"
    ),
    "sv": _set(
        "jag du han hon vi ni de det den en ett är var har och i på till av med för inte vad var när hur vem varför "
        "kan ska vill tack ja nej men eller som om från mig dig oss min din här där mycket också något hej god dag "
        "att"
    ),
    "tr": _set(
        "ben sen o biz siz onlar bir bu şu ve veya ama değil ile için de da mi mı mu mü ne nerede zaman nasıl neden "
        "kim kaç lütfen teşekkür ederim evet hayır var yok çok iyi günler merhaba bugün burada istiyorum olarak daha "
        "gibi"
    ),
    "vi": _set(
        "tôi bạn anh chị em ông bà nó chúng ta họ là có không và hoặc nhưng với của cho ở đâu gì khi nào như thế sao "
        "ai bao nhiêu xin cảm ơn vâng được muốn này đó rất cũng hôm nay chào một những các đã sẽ đang"
    ),
}
_LETTERS: Mapping[str, str] = {
    "cs": "áčďéěíňóřšťúůýž",
    "da": "æøå",
    "de": "äöüß",
    "es": "áéíñóú¿¡",
    "fi": "äö",
    "fr": "àâçèéêëîïôùûœ",
    "hu": "áéíóöőúüű",
    "it": "àèéìòù",
    "nl": "ëï",
    "no": "æøå",
    "pl": "ąćęłńóśźż",
    "pt": "ãõáâàçéêíóôú",
    "ro": "ăâîșşțţ",
    "ru": "ёъыэ",
    "sv": "åäö",
    "tr": "çğıöşü",
    "uk": "ґєії",
    "vi": "ăâđêôơưạảấầẩẫậắằặẹẻẽềếểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ",
}
"""Beyond those of English, or of Russian's and Ukrainian's common ones."""
_SCRIPTS: Mapping[str, re.Pattern[str]] = {
    code: re.compile(pattern)
    for code, pattern in {
        "ar": "[\u0600-\u06ff]+",
        "el": "[\u0370-\u03ff]+",
        "he": "[\u0590-\u05ff]+",
        "hi": "[\u0900-\u097f]+",
        "ja": "[\u3040-\u30ff\u4e00-\u9fff]",
        "ko": "[\uac00-\ud7af]+",
        "ru": "[\u0400-\u04ff]+",
        "th": "[\u0e00-\u0e7f]",
        "uk": "[\u0400-\u04ff]+",
        "zh": "[\u4e00-\u9fff]",
    }.items()
}
_KANA = re.compile("[\u3040-\u30ff]")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_FOREIGN_HITS = 2
_FOREIGN_SHARE = 0.4
"""So many words must speak for another language than the expected one, for which none speaks."""


def primary_code(tag: str) -> str:
    """The language of a tag (BCP 47) without region and script, lower case: "pt" of "pt-BR"."""
    return re.split("[-_]", tag.strip().lower())[0]


def language_name(tag: str) -> str:
    """English name of a language tag's language; the tag itself where it is not known here."""
    return ENGLISH_NAMES.get(primary_code(tag), tag)


def language_of(text: str, among: Iterable[str] = ENGLISH_NAMES, *, expected: str = "") -> str:
    """Which of some languages a text is written in, as one of `among`; empty: it cannot be told.

    Args:
        text: a few words are enough, of which most languages tell at least one in three.
        among: language tags.
        expected: one of them, which it is unless the words plainly say otherwise.
    """
    words = [word.replace("’", "'") for word in _WORD.findall(text.casefold())]
    tags = tuple(among)
    codes = {primary_code(tag) for tag in tags}
    hits = {tag: _hits(text, words, primary_code(tag), codes) for tag in tags}
    best, second = ([*sorted(tags, key=lambda tag: -hits[tag]), "", ""])[:2]
    if not best or not hits[best] or (second and hits[second] == hits[best] and expected not in (best, second)):
        return expected
    if expected and hits[best] <= hits.get(expected, 0):
        return expected
    if expected and (hits[expected] or hits[best] < max(_FOREIGN_HITS, _FOREIGN_SHARE * len(words))):
        return expected
    return best


def _hits(text: str, words: list[str], code: str, codes: set[str]) -> int:
    """How many words speak for a language, and for none that is written alike."""
    script = _SCRIPTS.get(code)
    if script is None:
        others = codes - {code}
        common = frozenset().union(*(_WORDS.get(other, frozenset()) for other in others)) if len(codes) == 2 else ()
        letters = set(_LETTERS.get(code, "")).difference(*(_LETTERS.get(other, "") for other in others))
        own = _WORDS.get(code, frozenset())
        return sum((word in own and word not in common) or not letters.isdisjoint(word) for word in words)
    if code in ("ja", "zh") and len({"ja", "zh"} & codes) == 2 and bool(_KANA.search(text)) != (code == "ja"):
        return 0
    if code in ("ru", "uk") and len({"ru", "uk"} & codes) == 2:
        found = set(text.casefold())
        mine, others = found & set(_LETTERS[code]), found & set(_LETTERS["uk" if code == "ru" else "ru"])
        return len(script.findall(text)) if mine and not others else 0
    return len(script.findall(text))

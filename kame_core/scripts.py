"""Writing in all scripts: where sentences and clauses end, which characters are written without spaces between words,
and which signs are no letters but belong to one.

The strings are the inside of a regular expression's character class.
"""

import unicodedata

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
UNSPACED = "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff" + HAN
"""Thai, Lao, Burmese, Khmer, kana and Han (Unicode block ranges)."""
UNSPACED_SENTENCE_END = "。！？｡"
UNSPACED_CLAUSE_END = "、，；：､"
IDEOGRAPHIC_MARKS = "\u3000-\u303f\uff00-\uffef"
"""Punctuation and brackets of such writing (Unicode block ranges)."""
SENTENCE_END = ".?!…‽" + "।॥؟۔" + "։።။។" + UNSPACED_SENTENCE_END
"""Of all scripts: Latin, Devanagari, Arabic and Urdu, Armenian, Ethiopic, Burmese, Khmer, ideographic."""
CLAUSE_END = ",;:—–" + "،؛" + "፣၊" + UNSPACED_CLAUSE_END
COMBINING = "\u200c\u200d" + "".join(
    sign for sign in map(chr, range(0x0300, 0x1_2000)) if unicodedata.category(sign) in ("Mn", "Mc")
)
"""Vowel signs, accents and what joins letters: they stand within words, but Python's `\\w` leaves them out."""

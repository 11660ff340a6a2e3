"""Writing without spaces between words: which characters, and where such text may be cut.

The strings are the inside of a regular expression's character class.
"""

UNSPACED = "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Thai, Lao, Burmese, Khmer, kana and Han (Unicode block ranges)."""
UNSPACED_SENTENCE_END = "。！？｡"
UNSPACED_CLAUSE_END = "、，；：､"

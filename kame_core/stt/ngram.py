"""A trigram language model from a small grammar of templates, written as ARPA.

Counting sentences drawn from templates would drown the short ones: there are ten thousand sums and one "hello". So a
template stands for a distribution with a weight of its own, and the model gets the **expected** n-gram counts of one
sentence drawn from it, exact, by passing the distribution of the last two words through the template. Probability is
kept back by a fixed discount and given to unseen continuations through back-off weights (Katz 1987), so that sentences
that no template makes can still be recognised.
"""

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

BEGIN = "<s>"
END = "</s>"

Phrase = tuple[str, ...]
Choice = tuple[tuple[Phrase, float], ...]
"""Alternatives with probabilities that add up to 1."""

_TOKEN = re.compile(r"\{\w+\}|[()\[\]|]|[^\s{}()\[\]|]+")
_BRACKETS = {"(": ")", "[": "]"}
_CLOSING = (")", "]", "|")
_OPTIONAL_PROBABILITY = 0.35


@dataclass(frozen=True, slots=True)
class Template:
    """A sentence pattern: a chain of choices."""

    weight: float
    choices: tuple[Choice, ...]

    def accepts(self, words: Sequence[str]) -> bool:
        """Whether the pattern can make exactly these words."""
        ends = {0}
        for choice in self.choices:
            ends = {
                begin + len(phrase)
                for begin in ends
                for phrase, _ in choice
                if tuple(words[begin : begin + len(phrase)]) == phrase
            }
        return len(words) in ends


def parse_template(pattern: str, slots: Mapping[str, Mapping[str, float]], weight: float = 1.0) -> Template:
    """Read a pattern: words, `{slot}`, `(this|or that)`, and `[left out or not|or this]`; groups nest.

    Args:
        pattern: for example "what is the capital [city] of {country}".
        slots: phrases and their weights, by slot name.
        weight: how likely the pattern is against others.

    Raises:
        KeyError: a slot that is not given.
        ValueError: brackets that do not match.
    """
    tokens = _TOKEN.findall(pattern)
    tokens.reverse()
    choices = _read_chain(tokens, slots, pattern)
    if tokens:
        raise ValueError(f"brackets do not match in {pattern!r}")
    return Template(weight, tuple(choices))


def _read_chain(tokens: list[str], slots: Mapping[str, Mapping[str, float]], pattern: str) -> list[Choice]:
    """Items up to what ends the group; `tokens` is a stack and keeps the rest."""
    choices: list[Choice] = []
    while tokens and tokens[-1] not in _CLOSING:
        token = tokens.pop()
        if token in _BRACKETS:
            phrases = _read_group(tokens, slots, pattern, _BRACKETS[token])
            if token == "[":
                phrases = {"": 1.0 - _OPTIONAL_PROBABILITY} | {
                    phrase: share * _OPTIONAL_PROBABILITY for phrase, share in phrases.items()
                }
            choices.append(_choice(phrases))
        elif token.startswith("{"):
            choices.append(_choice(slots[token[1:-1]]))
        else:
            choices.append((((token,), 1.0),))
    return choices


def _read_group(
    tokens: list[str], slots: Mapping[str, Mapping[str, float]], pattern: str, closing: str
) -> dict[str, float]:
    """Alternatives up to the closing bracket, equally likely, written out as phrases with their probabilities."""
    alternatives: list[list[Choice]] = []
    while True:
        alternatives.append(_read_chain(tokens, slots, pattern))
        if not tokens:
            raise ValueError(f"brackets do not match in {pattern!r}")
        end = tokens.pop()
        if end == closing:
            break
        if end != "|":
            raise ValueError(f"brackets do not match in {pattern!r}")
    phrases: dict[str, float] = defaultdict(float)
    for chain in alternatives:
        for parts in itertools.product(*chain):
            phrase = " ".join(word for words, _ in parts for word in words)
            phrases[phrase] += math.prod(probability for _, probability in parts) / len(alternatives)
    return dict(phrases)


def _choice(phrases: Mapping[str, float]) -> Choice:
    total = sum(phrases.values())
    return tuple((tuple(phrase.split()), weight / total) for phrase, weight in phrases.items())


class TrigramModel:
    """Discounted back-off trigrams of the expected counts of templates.

    Args:
        templates: what can be said.
        discount: share of every context's probability that is kept for unseen continuations, in (0, 1).
        least_difference: trigrams that make less difference, in weight times nats, are left out.
    """

    def __init__(self, templates: Sequence[Template], discount: float = 0.15, least_difference: float = 5e-3) -> None:
        self._discount = discount
        self._least_difference = least_difference
        self._trigrams: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self._bigrams: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self._unigrams: dict[str, float] = defaultdict(float)
        for template in templates:
            self._count(template)

    @property
    def words(self) -> list[str]:
        """The vocabulary, sorted, without sentence marks."""
        return sorted(word for word in self._unigrams if word not in (BEGIN, END))

    def _count(self, template: Template) -> None:
        histories: dict[tuple[str, str], float] = {("", BEGIN): template.weight}
        self._unigrams[BEGIN] += template.weight
        for choice in (*template.choices, (((END,), 1.0),)):
            following: dict[tuple[str, str], float] = defaultdict(float)
            for history, mass in histories.items():
                for phrase, probability in choice:
                    last = history
                    for word in phrase:
                        self._add(last, word, mass * probability)
                        last = (last[1], word)
                    following[last] += mass * probability
            histories = following

    def _add(self, history: tuple[str, str], word: str, mass: float) -> None:
        self._unigrams[word] += mass
        self._bigrams[history[1]][word] += mass
        if history[0]:
            self._trigrams[history][word] += mass

    def write(self, file: TextIO) -> None:
        """Write the model in ARPA format (base-10 logarithms)."""
        total = sum(self._unigrams.values())
        unigram = {word: count / total for word, count in self._unigrams.items()}
        bigram = {first: self._discounted(counts) for first, counts in self._bigrams.items()}
        unigram_back_off = {first: _back_off(kept, unigram) for first, kept in bigram.items()}
        trigram = {context: self._kept(context, counts, bigram) for context, counts in self._trigrams.items()}
        trigram = {context: kept for context, kept in trigram.items() if kept}
        file.write("\\data\\\n")
        file.write(f"ngram 1={len(unigram)}\n")
        file.write(f"ngram 2={sum(map(len, bigram.values()))}\n")
        file.write(f"ngram 3={sum(map(len, trigram.values()))}\n\n\\1-grams:\n")
        for word, probability in sorted(unigram.items()):
            file.write(f"{_log(probability)} {word} {_log(unigram_back_off.get(word, 1.0))}\n")
        file.write("\n\\2-grams:\n")
        for first, continuations in sorted(bigram.items()):
            for word, probability in sorted(continuations.items()):
                kept = trigram.get((first, word), {})
                file.write(f"{_log(probability)} {first} {word} {_log(_back_off(kept, bigram.get(word, {})))}\n")
        file.write("\n\\3-grams:\n")
        for (first, second), continuations in sorted(trigram.items()):
            for word, probability in sorted(continuations.items()):
                file.write(f"{_log(probability)} {first} {second} {word}\n")
        file.write("\n\\end\\\n")

    def _discounted(self, counts: Mapping[str, float]) -> dict[str, float]:
        scale = (1.0 - self._discount) / sum(counts.values())
        return {word: scale * count for word, count in counts.items()}

    def _kept(
        self, context: tuple[str, str], counts: Mapping[str, float], bigram: Mapping[str, Mapping[str, float]]
    ) -> dict[str, float]:
        """The trigrams worth their place: those whose loss would change the model (Seymore & Rosenfeld 1996)."""
        probabilities = self._discounted(counts)
        shorter = bigram[context[1]]
        back_off = _back_off(probabilities, shorter)
        return {
            word: probability
            for word, probability in probabilities.items()
            if counts[word] * abs(math.log(probability / (back_off * shorter[word]))) > self._least_difference
        }


def _back_off(kept: Mapping[str, float], shorter: Mapping[str, float]) -> float:
    """What scales the shorter context's probabilities of the words that are not kept in the longer one."""
    if not kept:
        return 1.0
    return (1.0 - sum(kept.values())) / max(1e-3, 1.0 - sum(shorter[word] for word in kept))


def _log(probability: float) -> str:
    return f"{math.log10(probability):.4f}"


__all__ = ["BEGIN", "END", "Template", "TrigramModel", "parse_template"]

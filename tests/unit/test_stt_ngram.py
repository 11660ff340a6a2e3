import io
import itertools
import math

import pytest

from kame_core.stt.ngram import BEGIN, END, Template, TrigramModel, parse_template

SLOTS = {"number": {"two": 3.0, "twenty two": 1.0}, "place": {"rome": 1.0, "new york": 1.0}}

Table = dict[tuple[str, ...], tuple[float, float]]


def arpa(model: TrigramModel) -> Table:
    """n-gram to probability and back-off weight, as a reader of the format sees them."""
    file = io.StringIO()
    model.write(file)
    table: Table = {}
    order = 0
    announced: dict[int, int] = {}
    for line in file.getvalue().splitlines():
        if line.startswith("ngram "):
            size, count = line.removeprefix("ngram ").split("=")
            announced[int(size)] = int(count)
        elif line.endswith("-grams:"):
            order = int(line[1])
        elif line and order and not line.startswith("\\"):
            fields = line.split()
            words = tuple(fields[1 : order + 1])
            table[words] = (10 ** float(fields[0]), 10 ** float(fields[order + 1]) if len(fields) > order + 1 else 1.0)
    assert announced == {n: sum(len(words) == n for words in table) for n in (1, 2, 3)}
    return table


def probability(table: Table, history: tuple[str, ...], word: str) -> float:
    """By the rule of back-off models: the longest n-gram known, scaled by the weights of the histories that are not."""
    if (*history, word) in table:
        return table[(*history, word)][0]
    if not history:
        return 0.0
    return table.get(history, (0.0, 1.0))[1] * probability(table, history[1:], word)


def perplexity(table: Table, sentence: str) -> float:
    words = [BEGIN, *sentence.split(), END]
    log = sum(math.log(probability(table, tuple(words[max(0, i - 2) : i]), words[i])) for i in range(1, len(words)))
    return math.exp(-log / (len(words) - 1))


def sentences(template: Template) -> dict[str, float]:
    """All that a small template makes, with probabilities."""
    made: dict[str, float] = {}
    for chain in itertools.product(*template.choices):
        sentence = " ".join(word for phrase, _ in chain for word in phrase)
        made[sentence] = made.get(sentence, 0.0) + math.prod(share for _, share in chain)
    return made


def test_a_pattern_makes_its_sentences_with_their_probabilities() -> None:
    made = sentences(parse_template("(what is|what's) {number} [plus {number}|squared]", SLOTS))
    assert math.isclose(sum(made.values()), 1.0)
    assert len(made) == 2 * 2 * (1 + 2 + 1)
    assert math.isclose(made["what is two"], 0.5 * 0.75 * 0.65)
    assert math.isclose(made["what's twenty two squared"], 0.5 * 0.25 * 0.175)
    assert math.isclose(made["what is two plus two"], 0.5 * 0.75 * 0.175 * 0.75)


def test_groups_nest() -> None:
    made = sentences(parse_template("(go [back] to {place}|stay)", SLOTS))
    assert set(made) == {"go to rome", "go back to rome", "go to new york", "go back to new york", "stay"}
    assert math.isclose(made["stay"], 0.5)


def test_a_template_accepts_what_it_makes_and_nothing_else() -> None:
    template = parse_template("[and] what is {number} plus {number}", SLOTS)
    for sentence in sentences(template):
        assert template.accepts(sentence.split())
    for other in (
        "",
        "what is two plus",
        "what is two plus two two",
        "is two plus two",
        "and and what is two plus two",
    ):
        assert not template.accepts(other.split())


@pytest.mark.parametrize("pattern", ["(a|b", "a)", "[a", "a]", "(a]", "a|b"])
def test_brackets_that_do_not_match_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="brackets"):
        parse_template(pattern, SLOTS)


def test_an_unknown_slot_is_refused() -> None:
    with pytest.raises(KeyError):
        parse_template("in {country}", SLOTS)


@pytest.mark.parametrize("least_difference", [0.0, 0.02, 10.0])
def test_every_history_has_a_whole_probability_to_give(least_difference: float) -> None:
    model = TrigramModel(
        [
            parse_template("what is {number} plus {number}", SLOTS, 2.0),
            parse_template("what is [the time in] {place}", SLOTS),
            parse_template("stop", SLOTS, 0.5),
        ],
        discount=0.2,
        least_difference=least_difference,
    )
    table = arpa(model)
    vocabulary = [words[0] for words in table if len(words) == 1]
    assert sorted(set(vocabulary) - {BEGIN, END}) == model.words
    histories = [words for words in table if len(words) == 2 and words[1] != END] + [(BEGIN,), ("two",), ("rome",)]
    for history in histories:
        assert math.isclose(sum(probability(table, history, word) for word in vocabulary), 1.0, abs_tol=2e-3), history


def test_likely_sentences_are_expected_and_unseen_ones_possible() -> None:
    table = arpa(TrigramModel([parse_template("what is {number} plus {number}", SLOTS)]))
    seen = perplexity(table, "what is two plus twenty two")
    unseen = perplexity(table, "two is what")
    assert seen < 2.5
    assert seen < unseen < 1e4


def test_a_template_counts_by_its_weight_however_many_sentences_it_makes() -> None:
    many = {"number": {f"n{i}": 1.0 for i in range(60)}}
    table = arpa(TrigramModel([parse_template("say {number} {number}", many), parse_template("stop", many, 1.0)]))
    assert math.isclose(table[(BEGIN, "say")][0], table[(BEGIN, "stop")][0], rel_tol=1e-3)


def test_trigrams_that_change_little_are_left_out() -> None:
    templates = [
        parse_template("{number} plus {number} in {place}", SLOTS, 10.0),
        parse_template("two minus three", SLOTS, 10.0),
        parse_template("twenty minus four", SLOTS, 10.0),
        parse_template("twenty minus five in rome", SLOTS, 0.01),
    ]
    full = arpa(TrigramModel(templates, least_difference=0.0))
    small = arpa(TrigramModel(templates, least_difference=0.5))
    assert ("twenty", "minus", "five") in full
    assert ("twenty", "minus", "five") not in small
    assert ("two", "minus", "three") in small
    for sentence in sentences(templates[0]):
        assert perplexity(small, sentence) < 1.3 * perplexity(full, sentence)

"""The reading side of the oracle stream: as tokens for models, and as phrases for voices."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from kame_core.frontend.base import OracleAdopt, OracleClear, OracleFinish, OracleText
from kame_core.oracle import OracleCursor, PhraseCursor
from kame_core.oracle_cursors import PAD_ID, START_ID

ANSWER = (
    "Paris is the capital of France, a city of about 2.1 million people. Dr. Smith, e.g. a friend of mine, says "
    "photosynthesis isn't easy; well-known facts, 3,500 of them, prove it! Don't you think so?"
)


JAPANESE = "東京は日本の首都です。人口は約千四百万人で、とても大きな町です。"


def cuts_of(whole: str, places: list[int]) -> list[str]:
    borders = [0, *sorted({place % (len(whole) + 1) for place in places}), len(whole)]
    return [whole[start:end] for start, end in itertools.pairwise(borders)]


class Bpe:
    """A byte-pair tokenizer in SentencePiece's manner (words begin with a visible space), trained on the spot."""

    def __init__(self) -> None:
        self.tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
        self.tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Metaspace(), pre_tokenizers.Split("。", "isolated"), pre_tokenizers.Split("、", "isolated")]
        )
        self.tokenizer.decoder = decoders.Metaspace()
        trainer = trainers.BpeTrainer(vocab_size=160, special_tokens=["<unk>"], show_progress=False)
        self.tokenizer.train_from_iterator([ANSWER, JAPANESE] * 20, trainer)

    def encode(self, text: str) -> list[int]:
        return [100 + number for number in self.tokenizer.encode(text, add_special_tokens=False).ids]


@pytest.fixture(scope="module")
def bpe() -> Bpe:
    return Bpe()


class TestTokens:
    def drain(self, cursor: OracleCursor) -> list[int]:
        tokens = []
        while (token := cursor.next_token()) != PAD_ID:
            tokens.append(token)
        return tokens

    def test_pad_when_idle_and_start_first(self, bpe: Bpe) -> None:
        cursor = OracleCursor(bpe)
        assert [cursor.next_token() for _ in range(3)] == [PAD_ID] * 3
        cursor.apply(OracleAdopt("a"))
        assert cursor.next_token() == START_ID
        assert cursor.next_token() == PAD_ID

    @pytest.mark.parametrize("whole", [ANSWER, JAPANESE])
    @given(places=st.lists(st.integers(0, 400), max_size=80), ticks=st.integers(0, 5))
    @settings(max_examples=60)
    def test_ids_equal_those_of_the_whole_text_however_it_was_cut(
        self, bpe: Bpe, whole: str, places: list[int], ticks: int
    ) -> None:
        cursor = OracleCursor(bpe)
        cursor.apply(OracleAdopt("a"))
        tokens = []
        for delta in cuts_of(whole, places):
            cursor.apply(OracleText("a", delta))
            tokens += [cursor.next_token() for _ in range(ticks)]
        cursor.apply(OracleFinish("a"))
        tokens = [token for token in tokens if token != PAD_ID] + self.drain(cursor)
        assert tokens == [START_ID, *bpe.encode(whole)]
        assert cursor.exhausted
        assert cursor.read_chars == len(whole)

    def test_nothing_is_lost_when_the_words_come_late(self, bpe: Bpe) -> None:
        cursor = OracleCursor(bpe)
        cursor.apply(OracleAdopt("a"))
        cursor.apply(OracleText("a", "Paris is "))
        first = self.drain(cursor)
        starved = [cursor.next_token() for _ in range(50)]
        assert starved == [PAD_ID] * 50
        assert not cursor.exhausted
        cursor.apply(OracleText("a", "the capital"))
        cursor.apply(OracleFinish("a"))
        assert first + self.drain(cursor) == [START_ID, *bpe.encode("Paris is the capital")]

    def test_the_word_at_the_end_waits_until_it_is_complete(self, bpe: Bpe) -> None:
        cursor = OracleCursor(bpe)
        cursor.apply(OracleAdopt("a"))
        cursor.apply(OracleText("a", "photo"))
        assert self.drain(cursor) == [START_ID]
        cursor.apply(OracleText("a", "synthesis "))
        assert self.drain(cursor) == bpe.encode("photosynthesis")

    def test_unspaced_writing_is_read_clause_by_clause(self, bpe: Bpe) -> None:
        cursor = OracleCursor(bpe)
        cursor.apply(OracleAdopt("a"))
        cursor.apply(OracleText("a", "東京は日本の首都です。人"))
        assert self.drain(cursor) == [START_ID, *bpe.encode("東京は日本の首都です。")]

    def test_adoption_drops_the_unread_rest_and_ignores_late_text(self, bpe: Bpe) -> None:
        cursor = OracleCursor(bpe)
        cursor.apply(OracleAdopt("a"))
        cursor.apply(OracleText("a", "one two three four "))
        cursor.next_token()
        cursor.next_token()
        cursor.apply(OracleAdopt("b"))
        cursor.apply(OracleText("a", "late "))
        cursor.apply(OracleText("b", "Paris"))
        cursor.apply(OracleFinish("b"))
        assert self.drain(cursor) == [START_ID, *bpe.encode("Paris")]

    def test_clear_stops_at_once(self, bpe: Bpe) -> None:
        cursor = OracleCursor(bpe)
        cursor.apply(OracleAdopt("a"))
        cursor.apply(OracleText("a", "one two three "))
        cursor.apply(OracleClear())
        cursor.apply(OracleText("a", "four five "))
        assert self.drain(cursor) == []
        assert cursor.candidate_id is None
        assert not cursor.exhausted

    def test_read_characters_follow_the_words(self, bpe: Bpe) -> None:
        cursor = OracleCursor(bpe)
        cursor.apply(OracleAdopt("a"))
        cursor.apply(OracleText("a", "Paris is the"))
        seen = [0]
        for _ in range(60):
            cursor.next_token()
            if cursor.read_chars != seen[-1]:
                seen.append(cursor.read_chars)
        assert seen == [0, 5, 8]


def feed(*deltas: str, finish: bool = False) -> PhraseCursor:
    cursor = PhraseCursor()
    cursor.apply(OracleAdopt("a"))
    for delta in deltas:
        cursor.apply(OracleText("a", delta))
    if finish:
        cursor.apply(OracleFinish("a"))
    return cursor


def phrases(cursor: PhraseCursor, whole_sentences: bool = False) -> list[str]:
    found = []
    while (phrase := cursor.next_phrase(whole_sentences)) is not None:
        assert cursor.text[phrase.start_char : phrase.end_char] == phrase.text
        found.append(phrase.text)
    return found


class TestPhrases:
    def test_nothing_without_a_candidate(self) -> None:
        assert PhraseCursor().next_phrase() is None

    @pytest.mark.parametrize(
        ("come", "first"),
        [
            ("Paris is", None),
            ("Paris is the capital", None),
            ("Paris is the capital of", "Paris is the capital"),
            ("In France, Par", "In France,"),
            ("في فرنسا، با", "في فرنسا،"),
            ("Well, it", None),
            ("Yes. ", "Yes."),
            ("It is warm. And", "It is warm."),
            ("The number is 3.5 and", "The number is 3.5"),
            ("The answer is 3.", None),
            ("Mr. Smith is here now ", "Mr. Smith is here now"),
            ("Paris lies over the ", "Paris lies"),
        ],
    )
    def test_the_first_phrase_is_small(self, come: str, first: str | None) -> None:
        phrase = feed(come).next_phrase()
        assert (None if phrase is None else phrase.text) == first

    def test_later_phrases_end_with_the_sentence(self) -> None:
        cursor = feed(ANSWER, finish=True)
        assert phrases(cursor) == [
            "Paris is the capital of France,",
            " a city of about 2.1 million people.",
            " Dr. Smith, e.g. a friend of mine, says photosynthesis isn't easy; well-known facts, 3,500 of "
            "them, prove it!",
            " Don't you think so?",
        ]
        assert cursor.exhausted

    def test_a_later_phrase_without_marks_needs_six_words(self) -> None:
        cursor = feed("Well I think so. Now two three four five ")
        assert phrases(cursor) == ["Well I think so."]
        cursor.apply(OracleText("a", "six of the s"))
        assert phrases(cursor) == [" Now two three four five six"]
        cursor.apply(OracleFinish("a"))
        assert phrases(cursor) == [" of the s"]

    def test_whole_sentences(self) -> None:
        cursor = feed("One two three four five six seven eight, nine and more ")
        assert phrases(cursor, whole_sentences=True) == []
        cursor.apply(OracleText("a", "or less than 2.5 of them. Then "))
        assert phrases(cursor, whole_sentences=True) == [
            "One two three four five six seven eight, nine and more or less than 2.5 of them."
        ]
        cursor.apply(OracleFinish("a"))
        assert phrases(cursor, whole_sentences=True) == [" Then "]

    @pytest.mark.parametrize(
        ("come", "sentences"),
        [
            ("Ask Dr. No. 5 at St. James St. today. Go.", ["Ask Dr. No. 5 at St. James St. today.", " Go."]),
            ("The U.S. team won at 5 p.m. today. Yes.", ["The U.S. team won at 5 p.m. today.", " Yes."]),
            ("It was 1999. Then it ended.", ["It was 1999.", " Then it ended."]),
            ("1. Boil water. 2. Add tea.", ["1. Boil water.", " 2. Add tea."]),
            ('He said "no." Then he left.', ['He said "no."', " Then he left."]),
            ("Say no. Then go.", ["Say no.", " Then go."]),
            ("Well... perhaps not.", ["Well... perhaps not."]),
            ("東京です。大きいです。", ["東京です。", "大きいです。"]),
            ("पेरिस राजधानी है। यह बड़ा है।", ["पेरिस राजधानी है।", " यह बड़ा है।"]),
            ("كيف حالك؟ أنا بخير.", ["كيف حالك؟", " أنا بخير."]),
            ("پیرس دارالحکومت ہے۔ یہ بڑا ہے۔", ["پیرس دارالحکومت ہے۔", " یہ بڑا ہے۔"]),
        ],
    )
    def test_where_sentences_end(self, come: str, sentences: list[str]) -> None:
        assert phrases(feed(come, finish=True), whole_sentences=True) == sentences

    def test_marks_after_the_last_word_go_with_it_or_are_left_away(self) -> None:
        assert phrases(feed("Vraiment ? \n", finish=True)) == ["Vraiment ? \n"]
        cursor = feed("Yes. ")
        assert phrases(cursor) == ["Yes."]
        cursor.apply(OracleText("a", ' …"\n'))
        before = (phrases(cursor), cursor.exhausted)
        cursor.apply(OracleFinish("a"))
        after = (phrases(cursor), cursor.exhausted)
        assert (before, after) == (([], False), ([], True))

    def test_adoption_and_clear_drop_the_rest(self) -> None:
        cursor = feed("One two three four five. Six")
        cursor.next_phrase()
        cursor.apply(OracleAdopt("b"))
        cursor.apply(OracleText("a", " seven."))
        cursor.apply(OracleText("b", "Oh yes, so"))
        phrase = cursor.next_phrase()
        assert phrase is not None
        assert (phrase.text, phrase.start_char, phrase.end_char) == ("Oh yes,", 0, 7)
        cursor.apply(OracleClear())
        assert cursor.next_phrase() is None
        assert not cursor.exhausted

    @given(
        whole=st.one_of(
            st.just(ANSWER),
            st.just(JAPANESE),
            st.lists(
                st.sampled_from(["a", "the", "Dr.", "3.5", "word", "end.", "so,", "—", "Yes!", "東京、", "\n", " "])
            )
            .map(" ".join)
            .map(lambda joined: joined + "x"),
            st.text(max_size=120).map(lambda noise: noise + "x"),
        ),
        places=st.lists(st.integers(0, 400), max_size=40),
        whole_sentences=st.booleans(),
    )
    @settings(max_examples=300)
    def test_joined_phrases_are_the_text_and_words_are_never_cut(
        self, whole: str, places: list[int], whole_sentences: bool
    ) -> None:
        cursor = feed()
        found = []
        for delta in cuts_of(whole, places):
            cursor.apply(OracleText("a", delta))
            found += phrases(cursor, whole_sentences)
        cursor.apply(OracleFinish("a"))
        found += phrases(cursor, whole_sentences)
        joined = "".join(found)
        assert whole.startswith(joined)
        assert not any(map(str.isalnum, whole[len(joined) :]))
        assert cursor.exhausted
        assert all(any(map(str.isalnum, phrase)) for phrase in found)
        for phrase in found[:-1]:
            assert (
                phrase[-1] in "。！？｡、，；：､」』）】〉》”’"
                or whole[whole.index(phrase) + len(phrase) :][:1].strip() == ""
            )

    @given(places=st.lists(st.integers(0, 400), max_size=40))
    def test_offsets_are_gapless(self, places: list[int]) -> None:
        cursor = feed(*cuts_of(ANSWER, places), finish=True)
        position = 0
        while (phrase := cursor.next_phrase()) is not None:
            assert phrase.start_char == position
            position = phrase.end_char
        assert position == len(ANSWER)

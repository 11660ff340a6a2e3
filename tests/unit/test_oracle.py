"""The oracle stream: adoption, and reading it as tokens and as phrases."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from kame_core.errors import ChatModelError
from kame_core.events import (
    CandidateAdopted,
    CandidateFailed,
    CandidateFinished,
    CandidateStarted,
    CandidateSuperseded,
    CandidateText,
    Event,
)
from kame_core.frontend.base import OracleAdopt, OracleClear, OracleFinish, OracleText, OracleUpdate
from kame_core.oracle import OracleCursor, OracleStream, PhraseCursor
from kame_core.oracle_cursors import PAD_ID, START_ID

ANSWER = (
    "Paris is the capital of France, a city of about 2.1 million people. Dr. Smith, e.g. a friend of mine, says "
    "photosynthesis isn't easy; well-known facts, 3,500 of them, prove it! Don't you think so?"
)
JAPANESE = "東京は日本の首都です。人口は約千四百万人で、とても大きな町です。"


def started(name: str, partial: str = "", complete: bool = False) -> CandidateStarted:
    return CandidateStarted(0, name, partial, complete)


def text(name: str, delta: str) -> CandidateText:
    return CandidateText(0, name, delta)


class Reader:
    """Runs events through a stream and keeps what came out."""

    def __init__(self) -> None:
        self.stream = OracleStream(lambda: 77)
        self.updates: list[OracleUpdate] = []
        self.facts: list[Event] = []

    def __call__(self, *events: Event) -> "Reader":
        for event in events:
            decision = self.stream.handle(event)
            self.updates += decision.updates
            self.facts += decision.facts
        return self


class TestAdoption:
    def test_waits_for_two_complete_words(self) -> None:
        reader = Reader()(started("a", "what is"), text("a", "Paris"), text("a", " is"))
        assert reader.updates == []
        assert reader.stream.adopted is None
        reader(text("a", " the"))
        assert reader.updates == [OracleAdopt("a"), OracleText("a", "Paris is the")]
        assert reader.facts == [CandidateAdopted(77, "a")]

    def test_a_short_answer_is_adopted_when_it_is_finished(self) -> None:
        reader = Reader()(started("a"), text("a", "Paris."), CandidateFinished(0, "a", "Paris."))
        assert reader.updates == [OracleAdopt("a"), OracleText("a", "Paris."), OracleFinish("a")]

    @pytest.mark.parametrize("empty", ["", "  \n", "..."])
    def test_an_empty_one_is_never_adopted(self, empty: str) -> None:
        reader = Reader()(started("a"), text("a", empty), CandidateFinished(0, "a", empty))
        assert reader.updates == []
        assert reader.facts == []

    def test_marks_are_not_words(self) -> None:
        assert Reader()(started("a"), text("a", "- - — … Well")).updates == []

    def test_deltas_are_forwarded_exactly(self) -> None:
        deltas = ["One ", "two", " thr", "ee,\n", "\n ", " four", "…"]
        reader = Reader()(started("a"), *(text("a", delta) for delta in deltas))
        reader(CandidateFinished(0, "a", "".join(deltas)))
        texts = [update.text for update in reader.updates if isinstance(update, OracleText)]
        assert texts == ["One two thr", "ee,\n", "\n ", " four", "…"]
        assert reader.updates[-1] == OracleFinish("a")

    def test_the_older_one_is_read_until_the_newer_one_is_ready(self) -> None:
        reader = Reader()(
            started("a"), text("a", "one two three"), started("b"), text("b", "four "), text("a", " more")
        )
        assert reader.updates[-1] == OracleText("a", " more")
        reader(text("b", "five "), text("a", " lost"))
        assert reader.updates[-2:] == [OracleAdopt("b"), OracleText("b", "four five ")]
        assert reader.facts[1:] == [CandidateSuperseded(77, "a", "b"), CandidateAdopted(77, "b")]

    def test_an_older_one_is_never_adopted_after_a_newer_one(self) -> None:
        reader = Reader()(started("a"), started("b"), text("b", "from b here"), text("a", "from a here"))
        reader(CandidateFinished(0, "a", "from a here"))
        assert reader.stream.adopted is not None
        assert reader.stream.adopted.candidate_id == "b"
        assert len(reader.facts) == 1

    def test_a_failure_while_it_is_read_ends_it(self) -> None:
        reader = Reader()(started("a"), text("a", "one two three"), CandidateFailed(0, "a", ChatModelError("gone")))
        assert reader.updates[-1] == OracleFinish("a")
        assert reader.stream.adopted is not None
        assert reader.stream.adopted.finished
        before = len(reader.updates)
        assert len(reader(text("a", " late"), CandidateFinished(0, "a", "x")).updates) == before

    def test_a_failure_before_it_is_read_is_forgotten(self) -> None:
        reader = Reader()(started("a"), text("a", "one"), CandidateFailed(0, "a", None), text("a", " two three"))
        assert reader.updates == []

    def test_nothing_of_a_turn_survives_it(self) -> None:
        reader = Reader()(started("a"), text("a", "one two three"), started("b"))
        decision = reader.stream.new_turn()
        assert decision.updates == (OracleClear(),)
        assert decision.facts == (CandidateSuperseded(77, "a", None),)
        assert reader.stream.adopted is None
        before = len(reader.updates)
        reader(text("a", " more"), text("b", "one two three"), CandidateFinished(0, "b", "one two three"))
        assert len(reader.updates) == before
        reader(started("c"), text("c", "fresh words here"))
        assert reader.updates[-2] == OracleAdopt("c")

    def test_a_new_turn_says_nothing_if_there_was_no_oracle_and_clear_always_tells(self) -> None:
        stream = OracleStream(lambda: 0)
        stream.handle(started("a"))
        assert stream.new_turn().updates == ()
        assert stream.clear().updates == (OracleClear(),)

    def test_writing_without_spaces_becomes_ready(self) -> None:
        reader = Reader()(started("a"), text("a", "東京は"))
        assert reader.updates == []
        assert reader(text("a", "日本の")).updates[0] == OracleAdopt("a")

    @given(
        st.lists(
            st.tuples(st.sampled_from("abcd"), st.sampled_from(["start", "text", "finish", "fail", "turn"])),
            max_size=60,
        )
    )
    def test_any_order_of_events_keeps_the_rules(self, steps: list[tuple[str, str]]) -> None:
        stream = OracleStream(lambda: 0)
        order: dict[str, int] = {}
        current: str | None = None
        for number, (name, what) in enumerate(steps):
            if what == "turn":
                stream.new_turn()
                order.clear()
                current = None
                continue
            if what == "start":
                if name in order:
                    continue
                order[name] = number
                event: Event = started(name)
            elif what == "text":
                event = text(name, "word ")
            else:
                event = CandidateFinished(0, name, "") if what == "finish" else CandidateFailed(0, name, None)
            for update in stream.handle(event).updates:
                if isinstance(update, OracleAdopt):
                    assert update.candidate_id in order
                    assert current is None or order[update.candidate_id] > order[current]
                    current = update.candidate_id
                assert not isinstance(update, OracleClear)
                assert update.candidate_id == current


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
    @settings(max_examples=60, deadline=None)
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
    @settings(max_examples=300, deadline=None)
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

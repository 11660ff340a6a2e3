"""What people ask the embedded responder, as templates with weights: the matter of the small language model.

Arithmetic, date and time, units, countries, small talk, and the words that steer a dialogue. A template stands for a
way to ask; its slots (numbers, countries, units: `question_slots.py`) are filled by weight.
"""

from collections.abc import Callable, Sequence

from kame_core.stt.ngram import Template, parse_template
from kame_core.stt.question_slots import Slot, question_slots

_TEMPLATES: dict[str, tuple[float, Sequence[str]]] = {
    "arithmetic": (
        22,
        (
            "(what is|what's|how much is|what does|calculate) {number} (plus|minus|times) {number} [equal|make]",
            "(what is|what's|how much is|calculate) {number} (times|multiplied by|divided by|over) {number}",
            "(what is|what's|how much is|calculate) {number} (plus|minus|and) {number}",
            "{number} (plus|minus|times|divided by) {number} [is what]",
            "(and|okay) {number} (plus|minus|times|divided by) {number}",
            "(what is|what's|how much is) {number} (plus|minus|times) {number} (plus|minus|times) {number}",
            "(add|multiply) {number} (and|by|to|with) {number}",
            "(subtract|take) {number} from {number}",
            "divide {number} by {number}",
            "(what is|what's|how much is|calculate) {number} percent of {number} [dollars]",
            "(what is|what's|how much is) (half|a half|a third|a quarter|two thirds|three quarters) of {number}",
            "(what is|what's|how much is) (half|double|twice) [of] {number}",
            "(what is|what's|calculate) the (square|cube) root of {number}",
            "(what is|what's) {number} (squared|cubed)",
            "(what is|what's) {number} to the power of {digit}",
            "(what is|what's) the (sum|product|difference) of {number} and {number}",
            "is {number} (a prime number|prime|even|odd|an even number|an odd number|divisible by {digit})",
            "how many times does {number} go into {number}",
            "take {number} away from {number}",
            "{number} (plus|minus|times|divided by) {number} is how much",
            "what do you get (when|if) you (add|multiply|divide) {number} (and|by) {number}",
            "(what do|how much do|how much is) {number} (and|plus|times) {number} (make|give|come to|together)",
            "if (i|you) (add|have|take|multiply) {number} (and|plus|by) {number} (what|how much|how many) do (i|you) (get|have)",
            "if (i|you) (divide|take) {number} (by|from|away from) {number} (what|how much) (do i get|do you get|is left)",
            "how (much|many) is left if (i|you) take {number} (from|away from) {number}",
            "(what is|what's) {number} (more|less|bigger|smaller) than {number}",
        ),
    ),
    "date and time": (
        16,
        (
            "what time is it [now|right now|please]",
            "what's the time [now|right now|please]",
            "(what is|tell me|do you know|do you have) the [current] time [now|please]",
            "(can|could) you tell me (the time|what time it is) [please]",
            "(what time is it|what's the time|what is the time|what is the current time) in {place} [now|right now]",
            "what (day|weekday|day of the week) is it [today]",
            "what (day|weekday|date) (is|was|will it be) (today|tomorrow|yesterday|the day after tomorrow)",
            "(what is|what's) (today's date|the date [today]|the date tomorrow|the date yesterday|the day today)",
            "(what is|what's) the date (today|tomorrow|yesterday|in {number} days|next {weekday})",
            "what (month|year|season|week) is it [now]",
            "how (many days|many weeks|long) [is it] (until|till|to|before) {event}",
            "how many days are (left in|there in) (the year|this year|this month|{month}|a leap year)",
            "when is {event} [this year]",
            "(what|which) (day|day of the week|weekday) is {date}",
            "what [day] (will it be|is it|was it) (in {number} days|{number} days ago)",
            "is (this|it) a leap year",
            "what was the date (yesterday|on {weekday}|last {weekday})",
            "(what is|what's) the (year|month|day|weekday) [now]",
            "how many (days|weeks) are [still] left (until|till|to) {event}",
        ),
    ),
    "units": (
        16,
        (
            "how many {units} (are in|are there in|in|make|is) (a|an|one) {unit}",
            "how many {units} are [there] in {number} {units}",
            "how many {units} (is|are) {number} {units}",
            "(convert|change) {number} {units} (to|into|in) {units}",
            "(what is|what's|how much is|what are) {number} {units} in {units}",
            "how (much|long|far|heavy|tall|high|big) is {number} {units} in {units}",
            "how many {units} (equal|equals|go into|fit in|fit into|make up) (a|an|one) {unit}",
            "(if something is|i am|i'm) {number} {units} (how many|how much|what) is that in {units}",
            "how many {units} (is|are) (a|an|one) {unit}",
            "(what is|what's|how much is|how hot is|convert) {temperature} degrees {scale} (in|to|into) {scale}",
            "(what is|convert) {temperature} {scale} (in|to) {scale}",
            "{number} {units} (in|to) {units}",
            "how many (seconds|minutes|hours) are [there] in (a|an|one) (minute|hour|day|week|month|year)",
            "how many days are [there] in a (week|month|year)",
            "how many {units} does (a|an|one) {unit} have",
            "how many (seconds|minutes|hours|days) (do you have|are there) in (a|an|one) (minute|hour|day|week|year)",
            "{temperature} degrees {scale} is (how much|what) in {scale}",
        ),
    ),
    "countries": (
        20,
        (
            "(what is|what's|tell me|name) the capital [city] of {country}",
            "[and] (what's|what is) {owner} capital",
            "(what is|what's|tell me) the (population|area|size|currency|continent|language) of {country}",
            "(how many people live|how many people are there) in {country}",
            "(what|which|what kind of) (currency|money) (is used|do they use|do people use|do you use) in {country}",
            "what is the currency (of|in) {country}",
            "(on|in) (which|what) continent is {country}",
            "(what|which) continent is {country} (in|on)",
            "where is {country}",
            "how (big|large|populous) is {country}",
            "(what|which) languages (are spoken|do they speak|do people speak) in {country}",
            "what language (is spoken|do they speak|do people speak) in {country}",
            "(what|which) countries (border|are neighbors of|are next to|are around) {country}",
            "what are the neighbors of {country}",
            "is {capital} the capital of {country}",
            "(what|which) country is {capital} (in|the capital of)",
            "{capital} is the capital of (which|what) country",
            "is {country} (bigger|larger|smaller) than {country}",
            "(which|what) (is|country is) (bigger|larger|smaller) {country} or {country}",
            "does {country} have (more|fewer|less) people than {country}",
            "(which country|who) has more people {country} or {country}",
            "(which|what) (part of the world|continent) is {country} (in|part of)",
            "(what is|which is|what's) the (biggest|largest|smallest) country in (the world|{continent})",
            "how many countries are [there] in (the world|{continent})",
            "(and|what about|how about|and what about) {country}",
            "tell me [something] about {country}",
            "(what was|what would be|which is|which city is|what city is) the capital of {country}",
            "(which|what) money do (they|people) (have|use) in {country}",
            "is {country} (big|large|small|a big country|a large country|a small country)",
        ),
    ),
    "small talk": (
        16,
        (
            "(hello|hi|hey|hello there|hi there|hey there|good morning|good afternoon|good evening|good day)",
            "(hello|hi|hey|good morning|good evening) how are you [today|doing|doing today]",
            "how are you [today|doing|doing today|feeling]",
            "how is it going",
            "(what is|what's) up",
            "(who|what) are you",
            "(what is|what's) your name",
            "do you have a name",
            "(who|what) (made|built|created|wrote) you",
            "(what|which|what kinds of|what sort of) (things can you do|questions can i ask|things do you know)",
            "what (else can you do|can you do|do you know|can i ask you|can i ask|can you help me with)",
            "(what do you do|how do you work|how old are you|where are you|where are you from)",
            "are you a (robot|computer|person|human|machine)",
            "(are you real|are you there|can you hear me|do you understand me|do you hear me)",
            "(thank you|thanks|thank you very much|thanks a lot|thank you so much|many thanks) [for your help|for that]",
            "(goodbye|bye|bye bye|see you|see you later|good night|talk to you later|see you tomorrow)",
            "(thank you|thanks) (goodbye|bye|that's all|that is all)",
            "(tell me|do you know|can you tell me) (a|another) [good|funny|short|new] (joke|story)",
            "(tell me|do you know|can you tell me) (something funny|something interesting)",
            "(can|could|will|would) you help me [please]",
            "i need (help|some help|your help)",
            "help [me]",
            "(nice|great|good|very good|perfect|wonderful|cool|awesome|excellent|not bad|that's great|that's nice)",
            "(nice to meet you|my name is|i am fine|i'm fine|i'm good|fine thank you|i'm fine thanks)",
            "(i love you|i like you|you are funny|you're funny|that's funny|you are great|you are smart)",
        ),
    ),
    "dialogue": (
        14,
        (
            "(stop|wait|quiet|pause|be quiet|stop it|stop talking|hold on|shut up)",
            "(one moment|just a moment|wait a minute)",
            "(never mind|forget it|cancel|cancel that|no thank you|no thanks|that's enough|that is enough|enough)",
            "[please] (say that again|say it again|repeat that|repeat it|repeat|repeat the answer|speak up) [please]",
            "(can|could) you [please] (repeat that|say that again|say that one more time|speak slower) [please]",
            "(what did you say|i didn't hear you|i did not hear that|i didn't get that|i don't understand)",
            "(pardon|excuse me|sorry)",
            "(sorry|excuse me|wait) (what|what did you say|say that again)",
            "(yes|no|yeah|yep|nope|okay|sure|right|correct|exactly|of course|absolutely|not really|maybe|please)",
            "(yes please|yes i do|no i don't|yes it is|no it isn't)",
            "(that's right|that's wrong|that is right|that is wrong)",
            "(mm-hm|uh-huh|uh huh|hm|huh|ah|oh|wow|really|i see|got it|alright|all right|go on|go ahead|continue|next)",
            "(okay|oh) (thank you|thanks|i see|got it|stop|good|great)",
            "(why|when|where|who|how|what|how so|why not|why is that|what else|and then)",
        ),
    ),
}

_POLITE = "(can you tell me|could you tell me|would you tell me|tell me|please tell me)"
_KNOWING = "(do you know|do you happen to know|i want to know|i would like to know|i'd like to know)"
_POLITE_TEMPLATES: tuple[str, ...] = (
    f"{_POLITE} what {{number}} (plus|minus|times|divided by) {{number}} is",
    f"{_POLITE} the (capital|population|currency|size) of {{country}}",
    f"{_POLITE} (a joke|your name|the date|who you are|what you can do)",
    f"{_KNOWING} the (capital|population|currency|size) of {{country}}",
    *(
        f"{asking} {indirect}"
        for asking in (_POLITE, _KNOWING)
        for indirect in (
            "what the (capital|population|currency) of {country} is",
            "how (many people live in {country}|big {country} is)",
            "how many {units} are in (a|an|one) {unit}",
            "(what|which) (day|date) it is [today]",
            "what time it is [in {place}]",
        )
    ),
)
_POLITE_WEIGHT = 6.0
_BEFORE: Slot = {"": 30.0} | dict.fromkeys("and so okay well please now hey hello hi then but sorry".split(), 0.4)
_AFTER: Slot = {"": 30.0, "please": 2.0} | dict.fromkeys(
    ("now", "then", "right now", "thank you", "thanks", "anyway", "exactly", "again"), 0.3
)
_FRAMED = ("arithmetic", "date and time", "units", "countries", "small talk")


def question_templates(knows: Callable[[str], bool]) -> list[Template]:
    """All templates, weighted; each subject's share is divided evenly among its ways to ask.

    Args:
        knows: whether a word has a pronunciation; slot fillers with a word that has none are left out.
    """
    slots = {
        name: {phrase: weight for phrase, weight in slot.items() if all(map(knows, phrase.split()))}
        for name, slot in question_slots().items()
    }
    slots |= {"before": _BEFORE, "after": _AFTER}
    templates = []
    for subject, (weight, patterns) in (_TEMPLATES | {"polite": (_POLITE_WEIGHT, _POLITE_TEMPLATES)}).items():
        for pattern in patterns:
            framed = f"{{before}} {pattern} {{after}}" if subject in _FRAMED else pattern
            templates.append(parse_template(framed, slots, weight / len(patterns)))
    return templates


__all__ = ["question_templates"]

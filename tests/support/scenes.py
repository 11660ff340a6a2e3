"""What scenes in the studio (`tests/support/studio.py`) ask, are told, and look at."""

from kame_core.backend.base import ChatRequest
from kame_core.events import ResponseText
from kame_core.frontend.base import Floor
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.studio import Studio

QUESTION = "what is the capital of france"
LONG = (
    "There are seven continents and five oceans, and the largest of them all is the Pacific, which covers "
    "about one third of the surface of the Earth, more than all the land together."
)
"""An answer that takes about ten seconds to say."""


def spoken_text(studio: Studio, response_id: str, origin: str | None = None) -> str:
    """What was heard of a response; of one origin only, if that is given."""
    return "".join(
        event.delta
        for event in studio.all(ResponseText)
        if event.response_id == response_id and origin in (None, event.origin)
    ).strip()


def about(word: str, answer: str, otherwise: str, first_token_delay_s: float = 0.2) -> ScriptedChatModel:
    """Answers by what the last message is about."""

    def script(request: ChatRequest) -> Answer:
        fits = word in request.messages[-1].content
        return Answer(answer if fits else otherwise, first_token_delay_s=first_token_delay_s)

    return ScriptedChatModel(script)


def at_rest(studio: Studio) -> bool:
    """Nobody speaks, thinks or waits."""
    conversation = studio.conversation
    return (
        conversation._agent.response is None
        and conversation._agent.state.floor is Floor.LISTEN
        and not conversation._answering.active
        and not conversation._answering.busy
        and conversation.playout._target_gain == 1.0
    )

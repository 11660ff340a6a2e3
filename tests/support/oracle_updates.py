"""What the oracle stream feeds to a slot."""

from kame_core.frontend.base import OracleAdopt, OracleFinish, OracleText, OracleUpdate


def spoken(text: str, candidate_id: str = "a") -> tuple[OracleUpdate, ...]:
    """A candidate that is adopted when all of it is written."""
    return (OracleAdopt(candidate_id), OracleText(candidate_id, text), OracleFinish(candidate_id))

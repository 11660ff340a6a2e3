"""Back end: when to ask, what to ask, whom to ask."""

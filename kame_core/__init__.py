"""KAME voice's engine: a front end that answers at once, a back end that knows things, and the oracle between them."""

"""The GPU front end: Moshi and KAME, many conversations in one batch, on the unmodified PyPI package `moshi`.

Importing the modules of this package imports torch and moshi; nothing else in kame_core does.
"""

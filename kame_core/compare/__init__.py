"""The three modes side by side: the same spoken questions through `tandem`, `direct` and `cascaded`.

What it shows is KAME's trade-off, latency against quality of the answer, on anybody's own models:
`python -m kame_core.compare --help`.
"""

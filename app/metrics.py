"""Counters, gauges and histograms, shown in Prometheus's text format 0.0.4.

Source: prometheus.io/docs/instrumenting/exposition_formats, "Text-based format". Everything is changed on the event
loop; nothing here waits. Labels are bounded: beyond `MOST_SERIES` of one metric, values count as `other`.
"""

import bisect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MOST_SERIES = 200
OTHER = "other"

M = TypeVar("M", bound="Metric")
Labels = tuple[str, ...]
Samples = Iterable[tuple[Mapping[str, str], float]]
"""Values read at the moment of a scrape, each with its labels."""


class Metric:
    """What all kinds have in common: a name, a help text, names of labels, and a bound on their values."""

    kind = "untyped"

    def __init__(self, name: str, help_text: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.help_text = help_text
        self.labels = tuple(labels)

    def lines(self) -> Iterator[str]:
        """Head and samples."""
        yield f"# HELP {self.name} {_escaped(self.help_text, quotes=False)}"
        yield f"# TYPE {self.name} {self.kind}"
        yield from self.samples()

    def samples(self) -> Iterator[str]:
        """One line for each value."""
        raise NotImplementedError

    def _key(self, known: Mapping[Labels, object], values: Labels) -> Labels:
        if len(values) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}")
        return values if values in known or len(known) < MOST_SERIES else (OTHER,) * len(values)


class Counter(Metric):
    """A number that only grows."""

    kind = "counter"

    def __init__(self, name: str, help_text: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, help_text, labels)
        self._values: dict[Labels, float] = {} if labels else {(): 0.0}

    def add(self, *labels: str, by: float = 1.0) -> None:
        """Count one more, or `by` more (not negative), under these label values."""
        if by < 0:
            raise ValueError("a counter does not go down")
        key = self._key(self._values, labels)
        self._values[key] = self._values.get(key, 0.0) + by

    def value(self, *labels: str) -> float:
        """The count under these label values."""
        return self._values.get(labels, 0.0)

    def samples(self) -> Iterator[str]:
        """One line for each combination of label values."""
        for values, count in self._values.items():
            yield _line(self.name, dict(zip(self.labels, values, strict=True)), count)


class Read(Metric):
    """A gauge, counter or summary whose values are somebody else's, read at each scrape.

    Args:
        kind: `gauge`, `counter` or `summary`; the last gives its quantiles with a label `quantile`.
        read: the values now.
    """

    def __init__(self, name: str, help_text: str, kind: str, read: Callable[[], Samples]) -> None:
        super().__init__(name, help_text)
        self.kind = kind
        self._read = read

    def samples(self) -> Iterator[str]:
        """One line for each value."""
        for labels, value in self._read():
            yield _line(self.name, labels, value)


class Histogram(Metric):
    """How often values fell below each of some bounds.

    Args:
        bounds: upper bounds, ascending, without infinity.
    """

    kind = "histogram"

    def __init__(self, name: str, help_text: str, bounds: Sequence[float], labels: Sequence[str] = ()) -> None:
        super().__init__(name, help_text, labels)
        if "le" in labels or list(bounds) != sorted(set(bounds)):
            raise ValueError("bounds must ascend, and no label may be named le")
        self.bounds = tuple(bounds)
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}
        if not labels:
            self._counts[()] = [0] * (len(self.bounds) + 1)

    def observe(self, value: float, *labels: str) -> None:
        """Note a value; below zero counts as zero, so that the sum only grows."""
        key = self._key(self._counts, labels)
        counts = self._counts.setdefault(key, [0] * (len(self.bounds) + 1))
        value = max(value, 0.0)
        counts[bisect.bisect_left(self.bounds, value)] += 1  # a bound itself belongs to its bucket
        self._sums[key] = self._sums.get(key, 0.0) + value

    def samples(self) -> Iterator[str]:
        """Cumulative buckets, sum and count of each combination of label values."""
        for values, counts in self._counts.items():
            labels = dict(zip(self.labels, values, strict=True))
            total = 0
            for bound, count in zip((*self.bounds, math.inf), counts, strict=True):
                total += count
                yield _line(f"{self.name}_bucket", {**labels, "le": _number(bound)}, total)
            yield _line(f"{self.name}_sum", labels, self._sums.get(values, 0.0))
            yield _line(f"{self.name}_count", labels, total)


class MetricRegistry:
    """All metrics of a server."""

    def __init__(self) -> None:
        self._metrics: dict[str, Metric] = {}

    def counter(self, name: str, help_text: str, *labels: str) -> Counter:
        """A new counter; its name ends in `_total`."""
        return self._add(Counter(name, help_text, labels))

    def histogram(self, name: str, help_text: str, bounds: Sequence[float], *labels: str) -> Histogram:
        """A new histogram."""
        return self._add(Histogram(name, help_text, bounds, labels))

    def read(self, name: str, help_text: str, kind: str, read: Callable[[], Samples]) -> None:
        """Values that are kept elsewhere; see `Read`."""
        self._add(Read(name, help_text, kind, read))

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """One number that is kept elsewhere."""
        self._add(Read(name, help_text, "gauge", lambda: [({}, read())]))

    def render(self) -> str:
        """Everything, as a scrape wants it."""
        return "".join(f"{line}\n" for metric in self._metrics.values() for line in metric.lines())

    def _add(self, metric: M) -> M:
        if metric.name in self._metrics:
            raise ValueError(f"there is a metric {metric.name} already")
        self._metrics[metric.name] = metric
        return metric


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    inner = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{inner}}} {_number(value)}" if inner else f"{name} {_number(value)}"


def _escaped(text: str, *, quotes: bool = True) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))

"""Distances of the entropies of windows beyond all entropies before them.

`numpy.histogram` counts each window anew over the range as it is then, and `scipy.stats.entropy` has its entropy; the
range and the distances are found here in the plainest way.
"""

import math

import numpy
from scipy.stats import entropy

from oracle import series, write

WARMUP = 30
# Entropies nearer to each other than this are the same.
SAME = 1e-9


def ranges(values, freeze):
    """The range of the first values, after each of them; a value widens it by no more than its width."""
    low = high = values[0]
    for at, value in enumerate(values):
        width = high - low
        if width == 0:
            low, high = min(low, value), max(high, value)
        elif at < freeze:
            low, high = max(min(low, value), low - width), min(max(high, value), high + width)
        yield low, high


def scores(values, bins, window, freeze):
    before = []
    for at, (low, high) in enumerate(ranges(values, freeze)):
        if at + 1 < window:
            yield None
            continue
        counts, _ = numpy.histogram(numpy.clip(values[at + 1 - window : at + 1], low, high), bins, (low, high))
        now = float(entropy(counts))
        if at < WARMUP or not before:
            yield None
        else:
            beyond = max(min(before) - now, now - max(before))
            yield beyond / math.log(bins) if beyond > SAME else 0.0
        before.append(now)


rows = series()
values = [value for _, value in rows]
fine, coarse = scores(values, 5, 24, 300), scores(values, 8, 12, 60)
write(
    __file__,
    ["numpy", "scipy"],
    "novelty of the entropy of 24 values in 5 bins, range from 300; of 12 in 8, range from 60",
    ["micros", "value", "score_24", "score_12"],
    [(*row, *both) for row, both in zip(rows, zip(fine, coarse, strict=True), strict=True)],
)

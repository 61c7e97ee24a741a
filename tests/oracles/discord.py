"""Distances of subsequences from their nearest neighbours to the left, from stumpy.

`stumpi` with `egress` keeps HISTORY values; the last entry of its left matrix profile after each of them is the distance
that `discord` scores with `relative = false`.
"""

import numpy
import stumpy

from oracle import series, write

LENGTH, HISTORY = 8, 128

rows = series()
values = numpy.array([value for _, value in rows])
stream = stumpy.stumpi(values[:HISTORY], LENGTH, egress=True)
distances = [numpy.inf] * (LENGTH - 1) + list(stream.left_P_)
for value in values[HISTORY:]:
    stream.update(value)
    distances.append(stream.left_P_[-1])
write(
    __file__,
    ["stumpy", "numpy"],
    f"distance is the left matrix profile, of subsequences of {LENGTH} among {HISTORY} values",
    ["micros", "value", "distance"],
    [
        (micros, value, float(distance) if numpy.isfinite(distance) else None)
        for (micros, value), distance in zip(rows, distances, strict=True)
    ],
)

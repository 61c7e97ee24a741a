"""Medians and median absolute deviations of the values before each one, by numpy and scipy: of all up to 17, then of the last 17."""

import numpy
from scipy.stats import median_abs_deviation

from oracle import series, write

WINDOW = 17

values = [value for _, value in series()]
rows = []
for at, (micros, value) in enumerate(series()):
    row = [micros, value, None, None, None, None]
    if at >= 2:
        window = numpy.array(values[max(0, at - WINDOW) : at])
        median = float(numpy.median(window))
        unit = deviation = float(median_abs_deviation(window, scale="normal"))
        if deviation == 0.0:
            # Where more than half of the values are the same, the mean deviation takes the place of the median one.
            unit = float(numpy.sqrt(numpy.pi / 2.0) * numpy.mean(numpy.abs(window - median)))
        # A constant window has no unit; the detector has a greatest score.
        score = 0.0 if value == median else None if unit == 0.0 else abs(value - median) / unit
        row[2:] = [median, deviation, unit, score]
    rows.append(row)

write(
    __file__,
    ["numpy", "scipy"],
    f"median, median_abs_deviation(scale='normal') and score of each value by the {WINDOW} before it; "
    "where the deviation is 0, the unit is √(π/2) times the mean absolute deviation from the median",
    ["micros", "value", "median", "deviation", "unit", "score"],
    rows,
)

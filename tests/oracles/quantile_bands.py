"""Quantiles of the values before each one, by the sketch of DDSketch's authors.

Values are taken relative to 50, so that there are negative ones, zeros and positive ones. The band's ends are those of the buckets
that hold the quantiles: a quantile q is said to be 2γ^k / (γ + 1), so its bucket ends at q / (1 ± accuracy).
"""

from ddsketch import DDSketch

from oracle import series, write

ACCURACY, LOWER, UPPER = 0.01, 0.05, 0.95


def ends(quantile):
    return sorted([quantile / (1.0 + ACCURACY), quantile / (1.0 - ACCURACY)])


sketch = DDSketch(ACCURACY)
rows = []
for at, (micros, value) in enumerate(series()):
    value = round(value - 50.0, 6)
    row = [micros, value, None, None, None, None]
    if at > 0:
        lower, _ = ends(sketch.get_quantile_value(LOWER))
        _, upper = ends(sketch.get_quantile_value(UPPER))
        score = max(lower - value, value - upper, 0.0) / (upper - lower)
        row[2:] = [lower, float(sketch.get_quantile_value(0.5)), upper, score]
    rows.append(row)
    sketch.add(value)

write(
    __file__,
    ["ddsketch"],
    f"ends of the buckets with the quantiles {LOWER} and {UPPER}, median, and score of each value by a DDSketch({ACCURACY}) of all before it",
    ["micros", "value", "lower", "median", "upper", "score"],
    rows,
)

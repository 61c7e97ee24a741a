"""Running moments of river, with which each value is scored before they learn it.

welford-z: stats.Mean and stats.Var, the variance of a sample (ddof 1). ewma-z: stats.EWMean and stats.EWVar, whose fading factor
is alpha. river takes the variance to be the mean of squares less the square of the mean: the same as Finch's equation 143,
but for digits that cancel where the mean is far from 0. So values are taken relative to 50, near their level.
"""

import math

from river import stats

from oracle import series, write

ALPHA = 0.05


def score(value, mean, variance):
    return abs(value - mean) / math.sqrt(variance)


mean, variance = stats.Mean(), stats.Var(ddof=1)
weighted_mean, weighted_variance = stats.EWMean(fading_factor=ALPHA), stats.EWVar(fading_factor=ALPHA)
rows = []
for at, (micros, value) in enumerate(series()):
    value = round(value - 50.0, 6)
    row = [micros, value, None, None, None, None, None]
    if at >= 2:
        found, weighted = variance.get(), weighted_variance.get()
        row[2:5] = [mean.get(), math.sqrt(found), score(value, mean.get(), found)]
        row[5:] = [weighted_mean.get(), score(value, weighted_mean.get(), weighted)]
    rows.append(row)
    for statistic in (mean, variance, weighted_mean, weighted_variance):
        statistic.update(value)

write(
    __file__,
    ["river"],
    f"mean, deviation and score of each value by Mean and Var(ddof=1) before it; by EWMean and EWVar, fading_factor {ALPHA}",
    ["micros", "value", "mean", "deviation", "score", "weighted_mean", "weighted_score"],
    rows,
)

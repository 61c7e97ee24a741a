"""River's two-sided Page-Hinkley test on levels that step up, step down and drift.

Compared are the statistic over its threshold (0 while the test learns anew after a change), whether there is a change,
and the mean before each value. River decides from `min_instances` values on, which are one more than the `warmup`
records before a score. `both`, `up` and `fading` are three settings.
"""

import random

import oracle
from river import drift

SETTINGS = {
    "both": dict(min_instances=31, delta=0.1, threshold=15.0, alpha=1.0, mode="both"),
    "up": dict(min_instances=21, delta=0.05, threshold=8.0, alpha=1.0, mode="up"),
    "fading": dict(min_instances=31, delta=0.005, threshold=12.0, alpha=0.99, mode="both"),
}


def values(count=560):
    numbers = random.Random(6)
    for at in range(count):
        level = 3.0 if at < 150 else 5.0 if at < 300 else 2.0 if at < 420 else 2.0 + (at - 420) / 60.0
        yield round(level + numbers.gauss(0.0, 1.0) + (15.0 if at == 100 else 0.0), 4)


def statistic(test):
    """How far the sums are from their extremes, as river's own `update` compares it with the threshold."""
    rise = test._sum_increase - test._min_increase
    fall = test._max_decrease - test._sum_decrease
    return {"both": max(rise, fall), "up": rise, "down": fall}[test.mode]


def results(setting):
    test = drift.PageHinkley(**setting)
    for value in values():
        begins = test.drift_detected or test._x_mean.n == 0
        mean = None if begins else test._x_mean.get()
        test.update(value)
        ready = test._x_mean.n >= test.min_instances
        yield mean, statistic(test) / test.threshold if ready else 0.0, int(test.drift_detected)


runs = {name: list(results(setting)) for name, setting in SETTINGS.items()}
columns = ["value", *(f"{name}_{column}" for name in runs for column in ("mean", "score", "change"))]
rows = [[value, *(cell for run in runs.values() for cell in run[at])] for at, value in enumerate(values())]
assert all(sum(row[2] for row in run) >= 2 for run in runs.values())
oracle.write(__file__, ["river"], "drift.PageHinkley after each value, and its mean before", columns, rows)

"""Prints, for each of tidewatch's detectors of which river has the statistic, its name and river's nanoseconds per record."""

import random
import statistics
import time

from river import drift, stats, time_series

KEYS = 1_000
WARM = 50
ROUNDS = 20


class EwmaZ:
    def __init__(self):
        self.mean, self.variance = stats.EWMean(0.05), stats.EWVar(0.05)

    def score(self, x):
        deviation = self.variance.get() ** 0.5
        score = abs(x - self.mean.get()) / deviation if deviation > 0.0 else 0.0
        self.mean.update(x)
        self.variance.update(x)
        return score


class WelfordZ:
    def __init__(self):
        self.variance = stats.Var()

    def score(self, x):
        deviation = self.variance.get() ** 0.5
        score = abs(x - self.variance.mean.get()) / deviation if deviation > 0.0 else 0.0
        self.variance.update(x)
        return score


class PageHinkley:
    def __init__(self):
        self.detector = drift.PageHinkley()

    def score(self, x):
        self.detector.update(x)
        return self.detector.drift_detected


class Adwin:
    def __init__(self):
        self.detector = drift.ADWIN()

    def score(self, x):
        self.detector.update(x)
        return self.detector.drift_detected


class HoltWinters:
    def __init__(self):
        self.model = time_series.HoltWinters(alpha=0.1, beta=0.01, gamma=0.1, seasonality=24)
        self.seen = 0

    def score(self, x):
        # It forecasts nothing before two seasons are over.
        score = abs(x - self.model.forecast(1)[0]) if self.seen > 48 else 0.0
        self.model.learn_one(x)
        self.seen += 1
        return score


DETECTORS = {
    "ewma-z": EwmaZ,
    "welford-z": WelfordZ,
    "page-hinkley": PageHinkley,
    "adwin": Adwin,
    "holt-winters": HoltWinters,
}

numbers = random.Random(1)
values = [50.0 + 5.0 * ((at % 24) / 12.0 - 1.0) ** 2 + numbers.gauss(0.0, 1.0) for at in range(24 * 101)]
for name, make in DETECTORS.items():
    keys = [make() for _ in range(KEYS)]
    times = []
    for at in range(WARM + ROUNDS):
        start = time.perf_counter()
        for key, detector in enumerate(keys):
            detector.score(values[(at + key * 37) % len(values)])
        if at >= WARM:
            times.append(time.perf_counter() - start)
    print(name, statistics.median(times) * 1e9 / KEYS)

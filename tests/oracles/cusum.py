"""Shewhart's tabular CUSUM against a known mean, on levels that step up and down.

Compared is the greater of both sums, over the decision interval. Its chart goes on after a signal; here, as in the
detector, another one begins.
"""

import random

import oracle
import shewhart

CENTER, SIGMA, K, H = 10.0, 2.0, 0.5, 5.0


def values(count=400):
    numbers = random.Random(11)
    for at in range(count):
        level = 10.0 if at < 100 else 11.5 if at < 200 else 10.0 if at < 300 else 7.5
        yield round(level + numbers.gauss(0.0, 2.0), 4)


def sums(series):
    chart = shewhart.cusum(series, center=CENTER, sigma=SIGMA, k=K, h=H).table
    pairs = list(zip(chart["cusum_pos"], -chart["cusum_neg"], chart["signal"]))
    end = next((at + 1 for at, (_, _, signal) in enumerate(pairs) if signal), len(pairs))
    return pairs[:end]


series, rows = list(values()), []
while len(rows) < len(series):
    begin = len(rows)
    for value, (rise, fall, signal) in zip(series[begin:], sums(series[begin:])):
        rows.append([value, float(max(rise, fall)) / (H * SIGMA), int(signal)])
assert sum(row[2] for row in rows) >= 4
how = "cusum against mean 10 and deviation 2 with k 0.5 and h 5, begun anew after each signal"
oracle.write(__file__, ["shewhart"], how, ["value", "score", "change"], rows)

"""River's ADWIN on noise alone, on steps and on a drift, with values of a range of about 1.

Compared are the records at which there is a change, and the mean of the window after each, which is what is expected of
the next record. `usual` has river's defaults; `quick` checks more often with fewer buckets. Both ask `AdaptiveWindowing`,
which keeps the newer part of the window after a change, as the paper has it. `anew` asks `drift.ADWIN`, the same but that
it forgets the whole window after a change.
"""

import random

import oracle
from river import drift
from river._river_rust.drift import AdaptiveWindowing

USUAL = dict(delta=0.002, clock=32, max_buckets=5, min_window_length=5, grace_period=10)
QUICK = dict(delta=0.1, clock=5, max_buckets=3, min_window_length=3, grace_period=20)
LEVELS = {
    "noise": lambda at: 0.5,
    "steps": lambda at: [0.2, 0.7, 0.4, 0.5][at // 200],
    "drift": lambda at: 0.2 + max(0, at - 200) / 1000.0,
}


def values(level, count=800):
    numbers = random.Random(7)
    return [round(level(at) + numbers.uniform(-0.2, 0.2), 3) for at in range(count)]


def kept(setting, series):
    window = AdaptiveWindowing(**setting)
    for at, value in enumerate(series):
        changed = window.update(value)
        # Some are enough, and keep the file small.
        yield int(changed), window.get_total() / window.get_width() if changed or at % 32 == 31 else None


def anew(setting, series):
    window = drift.ADWIN(**setting)
    for at, value in enumerate(series):
        window.update(value)
        changed = window.drift_detected
        yield int(changed), window.estimation if not changed and at % 32 == 31 else None


runs = {"usual": (kept, USUAL), "quick": (kept, QUICK), "anew": (anew, USUAL)}
rows = []
for name, level in LEVELS.items():
    series = values(level)
    results = [list(run(setting, series)) for run, setting in runs.values()]
    rows.extend([name, value, *(cell for run in results for cell in run[at])] for at, value in enumerate(series))
columns = ["series", "value", *(f"{name}_{column}" for name in runs for column in ("change", "mean"))]
assert all(sum(row[2 + 2 * run] for row in rows) >= 4 for run in range(3))
oracle.write(__file__, ["river"], "whether there is a change at each value, and the mean after some", columns, rows)

"""Pandas' expanding mean and standard deviation (of a sample) per slot of the local calendar.

The times lie across both changes of the clocks in each zone. Compared are mean and |value - mean| / deviation, of all
earlier values of the slot, or of all earlier values where the slot has fewer than 3.
"""

import math
import random

import oracle
import pandas

ZONES = {
    "berlin": ("Europe/Berlin", lambda local: local.dt.hour),
    "new_york": ("America/New_York", lambda local: local.dt.day_of_week * 24 + local.dt.hour),
}
# 2024: New York changes on 10 March and 3 November, Berlin on 31 March and 27 October.
STRETCHES = [("2024-03-08T00:00:00Z", "2024-04-02T00:00:00Z"), ("2024-10-26T00:00:00Z", "2024-11-05T00:00:00Z")]


def times():
    numbers = random.Random(9)
    for start, end in STRETCHES:
        time, end = pandas.Timestamp(start), pandas.Timestamp(end)
        while time < end:
            yield time
            time += pandas.Timedelta(seconds=numbers.randrange(600, 9_600))


def before(values):
    """Mean, deviation and number of the values before each."""
    expanding = values.expanding()
    return pandas.DataFrame({"mean": expanding.mean().shift(1), "std": expanding.std().shift(1),
                             "count": expanding.count().shift(1)})


numbers = random.Random(10)
frame = pandas.DataFrame({"time": list(times())})
hours = frame["time"].dt.hour
frame["value"] = [round(10.0 * math.sin(hour / 4.0) + numbers.gauss(0.0, 1.0), 3) for hour in hours]
columns = ["micros", "value"]
frame["micros"] = (frame["time"] - pandas.Timestamp(0, tz="UTC")) // pandas.Timedelta(microseconds=1)
pooled = before(frame["value"])
for name, (zone, slot) in ZONES.items():
    slots = slot(frame["time"].dt.tz_convert(zone))
    own = pandas.concat([before(values) for _, values in frame["value"].groupby(slots)]).sort_index()
    known = own["count"] >= 3
    mean, deviation = (own[column].where(known, pooled[column]) for column in ("mean", "std"))
    frame[f"{name}_mean"] = mean
    frame[f"{name}_score"] = (frame["value"] - mean).abs() / deviation
    columns += [f"{name}_mean", f"{name}_score"]
    assert known.sum() > 100 and (~known).sum() > 50


def cell(value):
    return None if isinstance(value, float) and math.isnan(value) else value


rows = [[cell(value) for value in row] for row in frame[columns].itertuples(index=False)]
how = "expanding mean, and distance from it in expanding standard deviations, per local hour and hour of the week"
oracle.write(__file__, ["pandas"], how, columns, rows)

"""What the scripts share: a series with all that detectors meet, and a file of results."""

import csv
import random
from importlib.metadata import version
from pathlib import Path

# 2024-01-01T00:00:00Z
START_MICROS = 1_704_067_200_000_000


def series(count=400, seed=1):
    """Noise around a level that shifts, a slow season, spikes, and a constant stretch: (micros, value) a minute apart."""
    numbers = random.Random(seed)
    rows = []
    for at in range(count):
        level = 50.0 if at < count * 0.6 else 58.0
        value = level + 5.0 * ((at % 24) / 12.0 - 1.0) ** 2 + numbers.gauss(0.0, 1.0)
        if numbers.random() < 0.02:
            value += numbers.choice([-20.0, 20.0])
        if count * 0.4 <= at < count * 0.45:
            value = 50.0
        rows.append((START_MICROS + at * 60_000_000, round(value, 6)))
    return rows


def write(script, packages, how, columns, rows):
    """Writes NAME.csv beside NAME.py; `how` says in one line what the columns are."""
    path = Path(script).with_suffix(".csv")
    with path.open("w", newline="") as file:
        file.write("# " + ", ".join(f"{package} {version(package)}" for package in packages) + f": {how}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow(["" if cell is None else repr(cell) if isinstance(cell, float) else cell for cell in row])

"""River's Holt-Winters forecasts, one step ahead: multiplicative, additive, and with a trend alone.

In the additive form river begins with the quotients y / level for its seasonal terms, as in the multiplicative one, which
are all about 1 and no terms to add. There the seasonal terms of its first season are replaced by y - level; all that
follows is river's own. Nothing is clipped.
"""

import oracle
from river import time_series

SETTINGS = {
    "multiplicative": dict(alpha=0.3, beta=0.1, gamma=0.6, seasonality=24, multiplicative=True),
    "additive": dict(alpha=0.2, beta=0.05, gamma=0.3, seasonality=24),
    "trend": dict(alpha=0.5, beta=0.2),
}


def forecasts(setting, values):
    model = time_series.HoltWinters(**setting)
    first = max(2, model.seasonality)
    for at, value in enumerate(values):
        yield model.forecast(horizon=1)[0] if at >= first else None
        model.learn_one(value)
        if at + 1 == first and model.seasonality and not model.multiplicative:
            level = model.level[-1]
            model.season.clear()
            model.season.extend(value - level for value in values[:first])


values = [value for _, value in oracle.series(500, seed=8)]
runs = [list(forecasts(setting, values)) for setting in SETTINGS.values()]
rows = [[value, *(run[at] for run in runs)] for at, value in enumerate(values)]
oracle.write(__file__, ["river"], "time_series.HoltWinters.forecast before each value", ["value", *SETTINGS], rows)

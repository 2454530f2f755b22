"""Golden values for pnn-eval's confidence intervals.

Run with scipy and statsmodels installed:

    python intervals.py > intervals.json

Wilson comes from statsmodels, Student's t and the BCa bootstrap from scipy. The
bootstrap's replicates are stored with the data, so that the interval can be compared
without the two libraries sharing a random generator.
"""

import json
import sys

import numpy as np
import scipy
import scipy.stats
import statsmodels
from statsmodels.stats.proportion import proportion_confint

LEVELS = [0.5, 0.9, 0.95, 0.99]


def wilson():
    pairs = [(0, 1), (1, 1), (0, 10), (7, 10), (10, 10), (81, 263), (15, 148), (973, 1000), (9850, 10000), (59999, 60000)]
    for successes, trials in pairs:
        for level in LEVELS:
            low, high = proportion_confint(successes, trials, alpha=1 - level, method="wilson")
            yield {"successes": successes, "trials": trials, "level": level, "low": low, "high": high}


def student_t():
    rng = np.random.default_rng(1)
    samples = [[1.0, 2.0], [97.1, 96.8, 97.4], list(rng.normal(0.97, 0.01, 5)), list(rng.lognormal(0, 1, 40))]
    for values in samples:
        for level in LEVELS:
            interval = scipy.stats.t.interval(level, len(values) - 1, np.mean(values), scipy.stats.sem(values))
            yield {"values": values, "level": level, "low": interval[0], "high": interval[1]}


def crossed():
    rng = np.random.default_rng(4)
    for rows, columns in [(2, 2), (3, 20), (5, 4)]:
        table = 95 + rng.normal(0, 1, (rows, 1)) + rng.normal(0, 3, (1, columns)) + rng.normal(0, 0.5, (rows, columns))
        for level in LEVELS:
            halves = [
                scipy.stats.t.ppf(0.5 + level / 2, means.size - 1) * scipy.stats.sem(means)
                for means in [table.mean(axis=1), table.mean(axis=0)]
            ]
            interval = table.mean() - np.hypot(*halves), table.mean() + np.hypot(*halves)
            yield {
                "columns": columns, "values": list(table.ravel()), "level": level,
                "low": interval[0], "high": interval[1],
            }


def bca():
    rng = np.random.default_rng(2)
    cases = [("mean", np.mean, rng.lognormal(0, 1, 12)), ("median", np.median, rng.normal(5, 2, 15))]
    for name, statistic, values in cases:
        for level in [0.9, 0.95]:
            result = scipy.stats.bootstrap(
                (values,), statistic, n_resamples=999, confidence_level=level, method="BCa", rng=np.random.default_rng(3)
            )
            yield {
                "statistic": name,
                "values": list(values),
                "level": level,
                "replicates": list(result.bootstrap_distribution),
                "low": result.confidence_interval.low,
                "high": result.confidence_interval.high,
            }


json.dump(
    {
        "made_by": f"intervals.py with scipy {scipy.__version__}, statsmodels {statsmodels.__version__}",
        "wilson": list(wilson()),
        "student_t": list(student_t()),
        "crossed": list(crossed()),
        "bca": list(bca()),
    },
    sys.stdout,
)
print()

"""Golden values for pnn-eval's rank correlations.

Run with numpy and scipy installed:

    python correlations.py > correlations.json

Spearman's rho and Kendall's tau-b come from scipy; the mean over groups and the quantiles of the percentile
interval are put together here from scipy's coefficients and numpy's quantiles (its default, type 7).
"""

import json
import sys

import numpy as np
import scipy
import scipy.stats

LEVELS = [0.5, 0.9, 0.95]


def samples():
    rng = np.random.default_rng(1)
    yield [1.0, 2.0, 3.0], [3.0, 1.0, 2.0]
    yield [1.0, 2.0, 2.0, 3.0], [5.0, 4.0, 4.0, 4.0]
    yield [0.0, -0.0, 1.0, 1.0], [1.0, 2.0, 2.0, 1.5]
    for size in [5, 30, 200]:
        x = rng.lognormal(0, 3, size)
        yield list(x), list(-np.log(x) + rng.normal(0, 2, size))
        # Accuracies of few test images are tied often.
        yield [float(v) for v in rng.integers(0, 6, size)], [float(v) for v in rng.integers(0, 4, size)]
        yield list(x), list(np.round(-np.log(x) + rng.normal(0, 2, size)))


def pooled():
    for x, y in samples():
        yield {
            "x": x, "y": y,
            "spearman": scipy.stats.spearmanr(x, y).statistic,
            "kendall": scipy.stats.kendalltau(x, y, variant="b").statistic,
        }


def within():
    rng = np.random.default_rng(2)
    for sizes in [(3, 4), (10, 5, 7)]:
        groups = np.repeat([f"method {i}" for i in range(len(sizes))], sizes)
        order = rng.permutation(groups.size)
        groups = groups[order]
        # Methods differ by more than the seeds of one: the sign within them is the other one.
        offset = np.array([float(g[-1]) for g in groups])
        x = 10 * offset + rng.normal(0, 1, groups.size)
        y = np.round(20 * offset - x + rng.normal(0, 1, groups.size), 1)
        parts = [groups == g for g in np.unique(groups)]
        yield {
            "x": list(x), "y": list(y), "groups": list(groups),
            "spearman": np.mean([scipy.stats.spearmanr(x[p], y[p]).statistic for p in parts]),
            "kendall": np.mean([scipy.stats.kendalltau(x[p], y[p]).statistic for p in parts]),
        }


def percentile():
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, 12)
    y = x + rng.normal(0, 1, 12)
    replicates = []
    for _ in range(400):
        drawn = rng.integers(0, x.size, x.size)
        replicates.append(scipy.stats.spearmanr(x[drawn], y[drawn]).statistic)
    for level in LEVELS:
        low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
        yield {"replicates": replicates, "level": level, "low": low, "high": high}


json.dump(
    {
        "made_by": f"correlations.py with numpy {np.__version__}, scipy {scipy.__version__}",
        "pooled": list(pooled()),
        "within": list(within()),
        "percentile": list(percentile()),
    },
    sys.stdout,
)
print()

"""Statistics of a benchmark, as the paper's ("Statistical analysis"): mixed effects, effect sizes.

Fixed effects are the way of fine-tuning and the number of training images, both as factors; the shuffle is
a random intercept. Which of the models with and without interaction is taken says Akaike's criterion; the
weight of an effect is a likelihood-ratio test of maximum-likelihood fits. Contrasts between ways at each
number of images come from the restricted-likelihood fit with one mean for every cell. The paper used lme4
and emmeans with Kenward-Roger degrees of freedom; statsmodels gives normal ones, which are too sure of
themselves with three shuffles. P values are adjusted by Holm's method over all contrasts. Cohen's d is the
contrast over the residual standard deviation, as emmeans has it.
"""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from adaptation.benchmark_protocol import ZERO_SHOT, RunResult, by_run
from adaptation.benchmark_spec import METRICS

if TYPE_CHECKING:
    import pandas as pd

_NO_SPREAD = 1e-12  # of the values: less is a rounding error


@dataclass(frozen=True)
class Contrast:
    """Two ways at one number of training images.

    Attributes:
        n_images: Trained on.
        first, second: The ways.
        difference: Mean of the first minus mean of the second, in the metric.
        low, high: 95 % interval of the difference.
        p: Two-sided, adjusted by Holm over all contrasts of the benchmark.
        d: Cohen's d, with its 95 % interval.
    """

    n_images: int
    first: str
    second: str
    difference: float
    low: float
    high: float
    p: float
    d: float
    d_low: float
    d_high: float


@dataclass(frozen=True)
class Statistics:
    """What the mixed-effects models say.

    Attributes:
        metric: What was modelled.
        n_runs: Runs in it; ways and numbers of images for which runs are missing are left out.
        aic: Model -> Akaike's criterion; the smallest is taken.
        p_way: Of the way, by likelihood ratio.
        p_interaction: Of the interaction of way and number of images, by likelihood ratio.
        residual_sd: Residual standard deviation, the unit of d.
        shuffle_sd: Standard deviation of the random intercepts.
        contrasts: At each number of images.
        notes: What a reader has to know, e.g. that a fit was singular.
    """

    metric: str
    n_runs: int
    aic: dict[str, float]
    p_way: float
    p_interaction: float
    residual_sd: float
    shuffle_sd: float
    contrasts: tuple[Contrast, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def analyse(results: Sequence[RunResult], metric: str) -> Statistics | None:
    """Fit the models to the runs that are done.

    Args:
        results: Of a benchmark; zero-shot ones are not in the models.
        metric: One of `adaptation.benchmark_spec.METRICS`.

    Returns:
        None where there are not two ways with two shuffles each at two numbers of images, or shuffles make no
        difference, so that there is nothing to measure a difference by.
    """
    table = _complete(results, metric)
    if min(len(set(table[column])) for column in ("way", "n_images", "shuffle")) < 2:
        return None
    means = table.groupby(["way", "n_images"])["value"].transform("mean")
    values, within = table["value"].to_numpy(float), (table["value"] - means).to_numpy(float)
    if np.abs(within).max() <= _NO_SPREAD * np.abs(values).max():
        return None
    notes: list[str] = []
    formulas = {
        "way * images": "value ~ C(way) * C(n_images)",
        "way + images": "value ~ C(way) + C(n_images)",
        "images": "value ~ C(n_images)",
    }
    fits = {name: _fit(formula, table, notes, reml=False) for name, formula in formulas.items()}
    aic = {name: float(fit.aic) for name, fit in fits.items()}
    best = min(aic, key=lambda name: aic[name])
    notes.append(f"smallest AIC: {best}")
    cells = table.assign(cell=table["way"] + "|" + table["n_images"].astype(str))
    fit = _fit("value ~ 0 + C(cell)", cells, notes, reml=True)
    scale = float(np.sqrt(fit.scale))
    return Statistics(
        metric=metric,
        n_runs=len(table),
        aic=aic,
        p_way=_likelihood_ratio(fits["way * images"], fits["images"]),
        p_interaction=_likelihood_ratio(fits["way * images"], fits["way + images"]),
        residual_sd=scale,
        shuffle_sd=_shuffle_sd(fit),
        contrasts=_contrasts(fit, table, scale),
        notes=tuple(dict.fromkeys(notes)),
    )


@dataclass(frozen=True)
class Efficiency:
    """How many labels a way needs to reach what another has with few.

    Attributes:
        reference: The way, e.g. "replay".
        reference_images: Its number of images, the one nearest to what was asked for.
        reference_value: What it reaches there, the mean over shuffles.
        needed: Way -> images at which its mean over shuffles is as good, between two measured numbers by
            linear interpolation over the logarithm; None where it never is.
    """

    reference: str
    reference_images: int
    reference_value: float
    needed: dict[str, float | None]


def efficiency(
    results: Sequence[RunResult], metric: str, *, reference: str = "replay", images: int = 10
) -> Efficiency | None:
    """Read the data efficiency off the means; None where the reference has no run with a value.

    A number of images at which a shuffle has no value is left out.
    """
    runs = {key: values for key, values in by_run(results, metric).items() if key[0] != ZERO_SHOT}
    means = {key: float(np.mean(values)) for key, values in runs.items() if np.isfinite(values).all()}
    there = [n for way, n in means if way == reference]
    if not there:
        return None
    nearest = min(there, key=lambda n: abs(n - images))
    value = means[reference, nearest]
    sign = -1 if METRICS[metric] else 1
    needed: dict[str, float | None] = {}
    for way in sorted({way for way, _ in means} - {reference}):
        curve = sorted((n, sign * mean) for (w, n), mean in means.items() if w == way)
        needed[way] = _crossing(curve, sign * value)
    return Efficiency(reference, nearest, value, needed)


def _crossing(curve: Sequence[tuple[int, float]], value: float) -> float | None:
    """The first number of images at which a falling curve is at or below the value."""
    for i, (n, error) in enumerate(curve):
        if error <= value:
            if i == 0:
                return float(n)
            before, above = curve[i - 1]
            share = (above - value) / (above - error)
            return float(np.exp(np.log(before) + share * (np.log(n) - np.log(before))))
    return None


def _complete(results: Sequence[RunResult], metric: str) -> pd.DataFrame:
    """The runs as a table, without numbers of images at which a way lacks a shuffle or a value."""
    import pandas as pd

    rows = [
        {"way": r.way, "n_images": r.n_images, "shuffle": r.shuffle, "value": r.values.get(metric, np.nan)}
        for r in results
        if r.way != ZERO_SHOT
    ]
    table = pd.DataFrame(rows, columns=["way", "n_images", "shuffle", "value"]).dropna()
    cells = len(set(table["way"].tolist())) * len(set(table["shuffle"].tolist()))
    counts = Counter(table["n_images"].tolist())
    whole = [n for n, count in counts.items() if count == cells]
    return table.loc[table["n_images"].isin(whole)].reset_index(drop=True)


def _fit(formula: str, table: pd.DataFrame, notes: list[str], *, reml: bool) -> Any:
    """A mixed-effects fit, or least squares where the random intercept cannot be estimated; says so."""
    from statsmodels.formula.api import mixedlm, ols

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fit: Any = mixedlm(formula, table, groups=table["shuffle"]).fit(reml=reml)
        except np.linalg.LinAlgError:
            notes.append("singular: the shuffles explain nothing beyond the residual; least squares instead")
            return ols(formula, table).fit()
    for warning in caught:
        notes.append(" ".join(str(warning.message).split())[:120])
    return fit


def _shuffle_sd(fit: Any) -> float:
    """Of a mixed-effects fit; 0 for least squares."""
    covariance = getattr(fit, "cov_re", None)
    return 0.0 if covariance is None else float(np.sqrt(max(0.0, np.asarray(covariance)[0, 0])))


def _likelihood_ratio(full: Any, reduced: Any) -> float:
    """P value of what the full model has beyond the reduced one."""
    statistic = max(0.0, 2 * (full.llf - reduced.llf))
    return float(stats.chi2.sf(statistic, _n_fixed(full) - _n_fixed(reduced)))


def _n_fixed(fit: Any) -> int:
    """Number of fixed effects."""
    return len(fit.fe_params if hasattr(fit, "fe_params") else fit.params)


def _contrasts(fit: Any, table: pd.DataFrame, scale: float) -> tuple[Contrast, ...]:
    """Every pair of ways at every number of images, from the fit with one mean per cell."""
    from statsmodels.stats.multitest import multipletests

    names = [name.split("[")[-1].rstrip("]") for name in fit.model.exog_names]
    means = dict(zip(names, np.asarray(fit.params)[: len(names)], strict=True))
    covariance = np.asarray(fit.cov_params())[: len(names), : len(names)]
    place = {name: i for i, name in enumerate(names)}
    ways = sorted(table["way"].unique())
    found = []
    for n in sorted(table["n_images"].unique()):
        for first, second in itertools.combinations(ways, 2):
            i, j = place[f"{first}|{n}"], place[f"{second}|{n}"]
            difference = means[names[i]] - means[names[j]]
            error = float(np.sqrt(covariance[i, i] + covariance[j, j] - 2 * covariance[i, j]))
            found.append((int(n), first, second, float(difference), error))
    raw = [2 * stats.norm.sf(abs(difference) / error) for *_, difference, error in found]
    adjusted = np.asarray(multipletests(raw, method="holm")[1])
    z = stats.norm.ppf(0.975)
    return tuple(
        Contrast(
            n_images=n,
            first=first,
            second=second,
            difference=difference,
            low=difference - z * error,
            high=difference + z * error,
            p=float(p),
            d=difference / scale,
            d_low=(difference - z * error) / scale,
            d_high=(difference + z * error) / scale,
        )
        for (n, first, second, difference, error), p in zip(found, adjusted, strict=True)
    )

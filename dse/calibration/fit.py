"""Fit the physical factors of software stacks to measured rows: few, pooled, with priors.

Eight factors per stack and nothing per model, device or row. The ``textbook`` stack gives each factor's
prior (nominal) and bounds (low, high), and all that is not fitted. Stacks shrink towards a common
value that is fitted with them, so a stack with few rows borrows from the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy.optimize import least_squares

from dse.calibration.predict import Served, Times, soft_rows, times
from dse.catalog.catalog import Catalog
from dse.core.errors import DataError
from dse.core.units import FloatArray, IntArray
from dse.serving.software import FIELDS, SoftwareStack

PRIOR: Final = "textbook"


FITTED: Final = ("dense", "flop", "layer", "sequence", "prefill_share", "emulation", "first_token", "waiting")
"""factors that are fitted, by their name in ``Soft``"""


SHARES: Final = frozenset({"dense", "flop", "emulation"})
"""those of which more is better; less is of all others"""


FOLLOW: Final = {"attention": "dense", "experts": "dense", "flop_experts": "flop"}
"""factors that keep their prior ratio to a fitted one"""


SHRINK: Final = 1.0
"""penalty per e-fold that a stack lies from the common value"""


TTFT_WEIGHT: Final = 0.6


ROBUST: Final = 0.5
"""relative error from which the loss grows linearly"""


STEP: Final = 1e-5


LARGEST: Final = 3.0
"""e-folds of over-prediction beyond which the loss is cut, so that a step of the search cannot overflow"""


@dataclass(frozen=True)
class Fit:
    """Fitted factors: natural logarithms, (stacks, factors), and the common values."""

    stacks: tuple[str, ...]
    factors: FloatArray
    common: FloatArray
    held: Mapping[str, float]
    """factors set by the caller instead of the catalogue"""
    rows: tuple[str, ...]
    """ids of the rows it was fitted to"""

    def value(self, stack: str, name: str) -> float:
        """One fitted factor; a stack without rows has the common one, but none better than the best that was
        fitted.

        The common values lean to their priors, and no machine that nobody built may be better off than all
        built ones.
        """
        at = FITTED.index(name)
        if stack in self.stacks:
            return float(np.exp(self.factors[self.stacks.index(stack)][at]))
        fitted = self.factors[:, at]
        best = min(self.common[at], fitted.max()) if name in SHARES else max(self.common[at], fitted.min())
        return float(np.exp(best))


def fit(served: Served, catalog: Catalog, held: Mapping[str, float] | None = None) -> Fit:
    """Fit the stacks of the cases to their measured TPOT and TTFT.

    Least squares on relative error with a soft-L1 loss; residuals of stacks towards the common
    values and of those towards the prior are part of the same problem.

    Raises:
        DataError: no case has a measured TPOT.

    """
    measured = [i for i, c in enumerate(served.cases) if c.tpot is not None]
    if not measured:
        raise DataError("calibrate: no row has a measured TPOT (silicon_tpot_ms)")
    problem = _Problem(
        served if len(measured) == len(served.cases) else served.take(np.array(measured)), catalog, held or {}
    )
    start = np.tile(problem.prior, len(problem.stacks) + 1)
    low, high = (np.tile(b, len(problem.stacks) + 1) for b in problem.bounds)
    found = least_squares(
        problem.residuals,
        np.clip(start, low + STEP, high - STEP),
        problem.jacobian,
        bounds=(low, high),
        max_nfev=60,
    )
    common, factors = problem.split(found.x)
    return Fit(problem.stacks, factors, common, dict(held or {}), tuple(c.id for c in problem.served.cases))


class _Problem:
    """Residuals and their sparse derivative: a row depends on the factors of its own stack only."""

    def __init__(self, served: Served, catalog: Catalog, held: Mapping[str, float]) -> None:
        self.served, self.held = served, held
        self.stacks = tuple(sorted({c.software for c in served.cases}))
        self.code: IntArray = np.array([self.stacks.index(c.software) for c in served.cases])
        self.base = soft_rows(
            catalog, [replace(c, software=PRIOR) for c in served.cases], _columns(held, len(served))
        )
        entry = catalog.entry("software", PRIOR).values
        prior = [entry[FIELDS[n]] for n in FITTED]
        self.prior = np.log([q.nominal for q in prior])
        self.bounds = np.log([q.low for q in prior]), np.log([q.high for q in prior])
        self.sigma = np.maximum(
            (self.bounds[1] - self.bounds[0]) / 4.0, STEP
        )  # bounds as two sigma either way
        self.ratio = {
            n: catalog.value("software", PRIOR, FIELDS[n]) / catalog.value("software", PRIOR, FIELDS[f])
            for n, f in FOLLOW.items()
            if n not in held
        }
        self.tpot = np.log([c.tpot or np.nan for c in served.cases])
        ttft = np.array([c.ttft or np.nan for c in served.cases])
        self.weight = np.where(np.isfinite(ttft), TTFT_WEIGHT, 0.0)
        self.ttft = np.log(np.where(np.isfinite(ttft), ttft, 1.0))

    def split(self, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Common values, and factors (stacks, factors)."""
        return z[: len(FITTED)], z[len(FITTED) :].reshape(len(self.stacks), len(FITTED))

    def residuals(self, z: FloatArray) -> FloatArray:
        """Robust relative errors of rows, then pulls of stacks to the common values and of those to the
        prior.
        """
        common, factors = self.split(z)
        t = times(self.served, soft_of_factors(self.base, np.exp(factors)[self.code], self.ratio, self.held))
        apart = np.concatenate([np.log(t.tpot) - self.tpot, self.weight * (np.log(t.ttft) - self.ttft)])
        error = np.expm1(np.minimum(apart, LARGEST))
        robust = np.sign(error) * np.sqrt(2 * ROBUST**2 * (np.sqrt(1 + (error / ROBUST) ** 2) - 1))
        return np.concatenate(
            [robust, (SHRINK * (factors - common)).ravel(), (common - self.prior) / self.sigma]
        )

    def jacobian(self, z: FloatArray) -> FloatArray:
        """Slopes of the residuals by forward differences, one model call a factor."""
        f, n = len(FITTED), 2 * len(self.served)
        at = self.residuals(z)
        out = np.zeros((len(at), len(z)))
        for k in range(f):
            moved = z.copy()
            moved[f + k :: f] += STEP  # all stacks at once: no row sees another's
            slope = (self.residuals(moved) - at)[:n] / STEP
            for i in range(len(self.stacks)):
                rows = np.tile(self.code == i, 2)
                out[:n][rows, f + i * f + k] = slope[rows]
                out[n + i * f + k, f + i * f + k], out[n + i * f + k, k] = SHRINK, -SHRINK
            out[n + len(self.stacks) * f + k, k] = 1.0 / self.sigma[k]
        return out


def soft_of_factors(
    base: SoftwareStack, factors: FloatArray, ratio: Mapping[str, float], held: Mapping[str, float]
) -> SoftwareStack:
    """Factors (n, fitted) put into columns but for those held; followers keep their ratio."""
    columns = {name: factors[:, k] for k, name in enumerate(FITTED)}
    columns |= {name: columns[FOLLOW[name]] * r for name, r in ratio.items()}
    return replace(base, **{name: column for name, column in columns.items() if name not in held})


def predicted(served: Served, catalog: Catalog, fitted: Fit) -> Times:
    """Times of cases under a fit."""
    base = soft_rows(
        catalog, [replace(c, software=PRIOR) for c in served.cases], _columns(fitted.held, len(served))
    )
    rows = np.array(
        [
            fitted.factors[fitted.stacks.index(c.software)] if c.software in fitted.stacks else fitted.common
            for c in served.cases
        ]
    )
    ratio = {
        n: catalog.value("software", PRIOR, FIELDS[n]) / catalog.value("software", PRIOR, FIELDS[f])
        for n, f in FOLLOW.items()
        if n not in fitted.held
    }
    return times(served, soft_of_factors(base, np.exp(rows), ratio, fitted.held))


def _columns(held: Mapping[str, float], n: int) -> dict[str, FloatArray]:
    return {name: np.full(n, value) for name, value in held.items()}

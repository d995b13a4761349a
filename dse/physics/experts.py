"""Mixture of experts: which experts a batch reads, and how unevenly ranks are loaded.

Popularity follows Zipf's law with exponent ``skew`` (0: uniform); a step waits for its most
loaded rank.
"""

from __future__ import annotations

from functools import lru_cache
from math import log

import numpy as np

from dse.core.units import FloatArray


@lru_cache(maxsize=64)
def popularity(experts: int, picks: int, skew: float) -> FloatArray:
    """Probability that a token picks expert i: min(1, k w_i), Zipf weights w_i ~ i^-skew.

    Shape (experts,); not to be written to.

    Source: Zipf's law, an assumption about routing.
    """
    weights = np.power(np.arange(1, experts + 1, dtype=np.float64), -skew)
    picked: FloatArray = np.minimum(picks * weights / weights.sum(), 1.0)
    return picked


def mean_load(
    experts: int, picks: int, tokens: FloatArray | float, ranks: int, skew: float
) -> tuple[FloatArray, FloatArray]:
    """Token-expert pairs and distinct experts per rank, on average over ``ranks`` ranks; shape of ``tokens``.

    Distinct experts of a batch: sum_i 1 - (1 - p_i)^tokens.

    Source: expectation of an occupancy problem.
    """
    picked, batch = popularity(experts, picks, skew), np.asarray(tokens, dtype=np.float64)
    copies = max(ranks / experts, 1.0)
    distinct = np.sum(1.0 - np.power(1.0 - picked, batch[..., None] / copies), axis=-1) * copies
    return batch * float(picked.sum()) / ranks, distinct / ranks


def peak_load(
    experts: int, picks: int, tokens: FloatArray | float, ranks: int, skew: float
) -> tuple[FloatArray, FloatArray]:
    """Token-expert pairs and distinct experts of the most loaded of ``ranks`` ranks; shape of ``tokens``.

    Experts are dealt in order of popularity, so rank 0 holds the most popular of each round; on
    top comes the Gaussian maximum over ranks, of Poisson loads and of sums of independent experts,
    each read with probability q_i: variance sum_i q_i (1 - q_i). More ranks than experts: copies share.

    Source: as fluctuation, derived here.
    """
    chosen = popularity(experts, picks, skew)[:: min(ranks, experts)]
    share, batch = max(ranks / experts, 1.0), np.asarray(tokens, dtype=np.float64)
    mean = batch * float(chosen.sum()) / share
    load = fluctuation(mean, mean, ranks)
    read = 1.0 - np.power(1.0 - chosen, batch[..., None] / share)
    distinct = fluctuation(read.sum(axis=-1), (read * (1.0 - read)).sum(axis=-1), ranks)
    return np.minimum(load, batch * len(chosen)), np.minimum(distinct, float(len(chosen)))


def fluctuation(mean: FloatArray, variance: FloatArray, ranks: int) -> FloatArray:
    """Expected largest of ``ranks`` independent loads.

    Mean + sqrt(2 ln(ranks) variance), the Gaussian bound.

    Source: sub-Gaussian maximal inequality (Boucheron, Lugosi & Massart, Concentration Inequalities, 2013).
    """
    out: FloatArray = mean + np.sqrt(2.0 * log(max(ranks, 1)) * variance)
    return out


def hot_reads(
    experts: int, picks: int, tokens: FloatArray | float, ranks: int, skew: float, knots: int
) -> FloatArray:
    """Share of the expert bytes read that the most popular experts take, at 0, 1/knots, .. 1 of them.

    Shape of ``tokens`` and (knots + 1,). The most popular x of a rank's experts take sum_{i <= x n} q_i /
    sum q_i with q_i = 1 - (1 - p_i)^tokens: x itself where a batch reads all of them, more with few tokens
    and skewed popularity. Linear between whole experts.

    Source: expectation of an occupancy problem.
    """
    chosen = popularity(experts, picks, skew)[:: min(ranks, experts)]
    batch = np.asarray(tokens, dtype=np.float64)
    read = 1.0 - np.power(1.0 - chosen, batch[..., None] / max(ranks / experts, 1.0))
    grown = np.concatenate([np.zeros((*batch.shape, 1)), np.cumsum(read, axis=-1)], axis=-1)
    share = grown / grown[..., -1:]
    at = np.linspace(0.0, float(len(chosen)), knots + 1)
    whole = np.minimum(at.astype(np.int64), len(chosen) - 1)
    low, high = share[..., whole], share[..., whole + 1]
    out: FloatArray = low + (at - whole) * (high - low)
    return out


def ranks_reached(group: FloatArray, picks: float) -> FloatArray:
    """Expected number of distinct ranks that ``picks`` uniform choices reach: g (1 - (1 - 1/g)^k).

    Source: expectation of an occupancy problem.
    """
    return group * (1.0 - np.power(1.0 - 1.0 / group, picks))

"""Mixture of experts: which experts a batch reads, and how unevenly ranks are loaded.

Popularity follows Zipf's law with exponent ``skew`` (0: uniform); a step waits for its most
loaded rank.
"""

from __future__ import annotations

from math import log, sqrt

import numpy as np

from dse.core.units import FloatArray


def popularity(experts: int, picks: int, skew: float) -> FloatArray:
    """Probability that a token picks expert i: min(1, k w_i), Zipf weights w_i ~ i^-skew.

    Shape (experts,).

    Source: Zipf's law, an assumption about routing.
    """
    weights = np.power(np.arange(1, experts + 1, dtype=np.float64), -skew)
    picked: FloatArray = np.minimum(picks * weights / weights.sum(), 1.0)
    return picked


def mean_load(experts: int, picks: int, tokens: float, ranks: int, skew: float) -> tuple[float, float]:
    """Token-expert pairs and distinct experts per rank, on average over ``ranks`` ranks.

    Distinct experts of a batch: sum_i 1 - (1 - p_i)^tokens.

    Source: expectation of an occupancy problem.
    """
    picked = popularity(experts, picks, skew)
    copies = max(ranks / experts, 1.0)
    distinct = float(np.sum(1.0 - np.power(1.0 - picked, tokens / copies))) * copies
    return tokens * float(picked.sum()) / ranks, distinct / ranks


def peak_load(experts: int, picks: int, tokens: float, ranks: int, skew: float) -> tuple[float, float]:
    """Token-expert pairs and distinct experts of the most loaded of ``ranks`` ranks.

    Experts are dealt in order of popularity, so rank 0 holds the most popular of each round; on
    top comes the Gaussian maximum over ranks, of Poisson loads and of sums of independent experts,
    each read with probability q_i: variance sum_i q_i (1 - q_i). More ranks than experts: copies share.

    Source: as fluctuation, derived here.
    """
    chosen = popularity(experts, picks, skew)[:: min(ranks, experts)]
    share = max(ranks / experts, 1.0)
    mean = tokens * float(chosen.sum()) / share
    load = fluctuation(mean, mean, ranks)
    read = 1.0 - np.power(1.0 - chosen, tokens / share)
    distinct = min(
        fluctuation(float(read.sum()), float((read * (1.0 - read)).sum()), ranks), float(len(chosen))
    )
    return min(load, tokens * len(chosen)), distinct


def fluctuation(mean: float, variance: float, ranks: int) -> float:
    """Expected largest of ``ranks`` independent loads.

    Mean + sqrt(2 ln(ranks) variance), the Gaussian bound.

    Source: sub-Gaussian maximal inequality (Boucheron, Lugosi & Massart, Concentration Inequalities, 2013).
    """
    return mean + sqrt(2.0 * log(max(ranks, 1)) * variance)


def hot_reads(experts: int, picks: int, tokens: float, ranks: int, skew: float, knots: int) -> FloatArray:
    """Share of the expert bytes read that the most popular experts take, at 0, 1/knots, .. 1 of them; (knots
    + 1,).

    The most popular x of a rank's experts take sum_{i <= x n} q_i / sum q_i with q_i = 1 - (1 - p_i)^tokens:
    x itself where a batch reads all of them, more with few tokens and skewed popularity.

    Source: expectation of an occupancy problem.
    """
    chosen = popularity(experts, picks, skew)[:: min(ranks, experts)]
    read = 1.0 - np.power(1.0 - chosen, tokens / max(ranks / experts, 1.0))
    grown = np.concatenate([[0.0], np.cumsum(read)])
    return np.asarray(
        np.interp(np.linspace(0.0, len(read), knots + 1), np.arange(len(read) + 1), grown / grown[-1])
    )


def ranks_reached(group: FloatArray, picks: float) -> FloatArray:
    """Expected number of distinct ranks that ``picks`` uniform choices reach: g (1 - (1 - 1/g)^k).

    Source: expectation of an occupancy problem.
    """
    return group * (1.0 - np.power(1.0 - 1.0 / group, picks))

"""Search with Optuna, and the exhaustive sweep that says how close it came."""

from dse.search.polish import Found, additions, polished
from dse.search.samplers import SAMPLERS
from dse.search.study import Search, resume_study
from dse.search.sweep import sweep

__all__ = ["SAMPLERS", "Found", "Search", "additions", "polished", "resume_study", "sweep"]

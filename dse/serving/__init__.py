"""Machine x Traffic -> Pairs -> operating points: the only code paid per design and plan."""

from dse.serving.choose import LIMITS, Estimate, choose
from dse.serving.step import Pairs, serve

__all__ = ["LIMITS", "Estimate", "Pairs", "choose", "serve"]

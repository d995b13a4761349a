"""Machine x Traffic -> Pairs -> operating points: the only code paid per design and plan."""

from dse.serving.choose import Estimate, choose
from dse.serving.serve import serve
from dse.serving.soft import Soft, soft_of
from dse.serving.step import Pairs
from dse.space.limits import PLAN_LIMITS

__all__ = ["LIMITS", "Estimate", "Pairs", "Soft", "choose", "serve", "soft_of"]

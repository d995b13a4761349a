"""Reports of a run: the page and the recommendation. Reads a Run, never Optuna."""

from dse.report.facts import Facts, gather
from dse.report.page import page_html
from dse.report.recommend import document, recommendation_json

__all__ = ["Facts", "document", "gather", "page_html", "recommendation_json"]

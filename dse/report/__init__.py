"""Reports of a run: the page and the recommendation. Reads a Run, never Optuna."""

from dse.report.facts import Facts, gather
from dse.report.page import page_html
from dse.report.recommend import recommendation_html, recommendation_json, recommendation_md

__all__ = ["Facts", "gather", "page_html", "recommendation_html", "recommendation_json", "recommendation_md"]

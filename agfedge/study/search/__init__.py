"""The search for the cheapest cascade: amounts of pruning x places to part, and light experts of another origin."""

from agfedge.study.search.points import SearchPoint
from agfedge.study.search.report import SearchResult
from agfedge.study.search.request import SearchRequest
from agfedge.study.search.run import Search

__all__ = ["Search", "SearchPoint", "SearchRequest", "SearchResult"]

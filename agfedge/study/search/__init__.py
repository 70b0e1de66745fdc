"""The search for the cheapest cascade: amounts of pruning x places to part, and light experts of another origin."""

from agfedge.study.search.points import Estimate, Point
from agfedge.study.search.request import SearchRequest
from agfedge.study.search.result import SearchResult
from agfedge.study.search.run import Search

__all__ = ["Estimate", "Point", "Search", "SearchRequest", "SearchResult"]

"""Precision written into a graph's types."""

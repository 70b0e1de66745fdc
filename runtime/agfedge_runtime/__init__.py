"""agfedge."""

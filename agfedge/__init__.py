"""agfedge: prune a light expert out of a trained vision model, and run both as a measured cascade."""

__version__ = "0.1.0"

__all__ = ["__version__"]

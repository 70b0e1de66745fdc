"""Light experts of another origin: any ONNX classifier that takes what the heavy expert takes."""

from agfedge.light.foreign.read import foreign_light, load_foreign

__all__ = ["foreign_light", "load_foreign"]

"""Backends that run an ONNX graph."""

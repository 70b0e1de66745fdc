"""ONNX graphs: read, viewed, costed, written."""

"""What each ONNX operator does to channels: one file per family, one small function per operator."""

from agfedge_export.channels.rules.registry import Rule, find_rule, rule

__all__ = ["Rule", "find_rule", "rule"]

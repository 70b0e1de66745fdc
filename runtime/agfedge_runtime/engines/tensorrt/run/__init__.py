"""From an engine to answers."""

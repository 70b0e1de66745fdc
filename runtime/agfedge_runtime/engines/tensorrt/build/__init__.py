"""From a graph to an engine that is kept."""

"""The light expert: scored, pruned and recovered, or given by its owner."""

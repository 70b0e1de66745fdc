"""What comes in: a model, its weights and its data."""

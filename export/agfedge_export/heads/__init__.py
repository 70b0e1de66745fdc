"""What a graph of the cascade computes beside logits: preprocessing, confidence, priors."""

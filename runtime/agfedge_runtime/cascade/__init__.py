"""The cascade: what runs, in which order, and what it decides."""

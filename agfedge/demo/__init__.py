"""What ``agfedge demo`` runs: real images, a small model and the commands that a user would type."""

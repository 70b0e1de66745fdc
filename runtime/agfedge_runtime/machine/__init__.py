"""What this machine is, what is installed on it, and what is missing."""

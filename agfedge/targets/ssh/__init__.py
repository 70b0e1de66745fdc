"""Targets on other hosts, reached by the user's own OpenSSH client."""

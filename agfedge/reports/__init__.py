"""What is told of measured runs: pages, their tables and plots."""

"""Where two experts part, and the graphs before and after it."""

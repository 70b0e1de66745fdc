"""What every package uses: checks of options, statistics, progress, user files, processes that share work."""

__version__ = "0.1.0"

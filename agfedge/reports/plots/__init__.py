"""Plots of profiles as figures of a page; several profiles lie on top of each other."""

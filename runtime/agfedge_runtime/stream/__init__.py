"""Decisions on the device, one after the other: from files, videos and cameras, to a terminal, a log, a service."""

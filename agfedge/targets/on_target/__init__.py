"""What runs on a target: sources that are sent to the Python there, which has nothing of this installed.

Every module needs the standard library alone and Python 3.6, so that an old Python is told about, not tripped over.
They find each other by their full names, as here; `boot` sees to that.
"""

"""The public functions of agfedge, one a file; the command line is made of the same functions."""

"""Networks written for the benchmarks from their papers, small, in plain torch."""

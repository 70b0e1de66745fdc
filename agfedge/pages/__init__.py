"""Reports of measurements: pages for people, tables for a README, rows and traces for programs."""

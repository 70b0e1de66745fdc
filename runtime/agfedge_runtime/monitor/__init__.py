"""What a running cascade decides, beside what calibration saw."""

"""From two experts and a calibration to a bundle: graphs, golden answers, precisions, report; and its recalibration."""

"""The judge: real or synthetic scans, example slices taken from their truth, every method side by side."""

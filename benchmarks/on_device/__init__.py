"""What `benchmarks/device.py` does, a file for each part."""

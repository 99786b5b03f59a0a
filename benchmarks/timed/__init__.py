"""What `speed.py` times: one file for each part, a function that prints tables and returns its numbers and bounds."""

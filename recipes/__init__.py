"""Recipes: each a run to train, `python recipes/NAME.py` in a checkout, `unmelt train NAME` from anywhere."""

"""Enlarge crops of photographs four times by a bridge, by conditional diffusion, and by guidance.

    python recipes/restoring/photos_upscale.py

Of crops of 32 x 32 pixels the means of blocks of 4 x 4 are seen, with noise of 0.02 in [-1, 1] in each, as 32 x 32
pixels again. Figures and a picture of held-out photographs go to benchmarks/results/restoring/, runs to
runs/restoring/; docs/how_to/restoration.md says what was found.
"""

from three_ways import Task, compare

from unmelt.core import later
from unmelt.samplers.guidance import LinearObservation

# Noise of an orthonormal coefficient is that of a block's mean times the square root of its pixels.
TASK = Task("upscale", "made four times smaller", later(LinearObservation.block_means, size=4, noise_std=0.08))

if __name__ == "__main__":
    compare(TASK)

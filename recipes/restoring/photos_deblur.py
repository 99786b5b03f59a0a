"""Deblur crops of photographs by a bridge, by conditional diffusion, and by guidance: an hour of a CPU core.

    python recipes/restoring/photos_deblur.py

Crops of 32 x 32 pixels were blurred by 1.5 pixels, with noise of 0.05 in [-1, 1]. Figures and a picture of
held-out photographs go to benchmarks/results/restoring/, runs to runs/restoring/; docs/how_to/restoration.md says what
was found.
"""

from three_ways import Task, compare

from unmelt.core import later
from unmelt.samplers.guidance import LinearObservation

TASK = Task("deblur", "blurred by 1.5 pixels", later(LinearObservation.blur, width=1.5, noise_std=0.05))

if __name__ == "__main__":
    compare(TASK)

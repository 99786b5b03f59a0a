"""unmelt: linear-Gaussian forward processes for generative modelling.

A process destroys a signal by scaling its coefficients in some orthonormal basis and adding Gaussian
noise. From one small subclass follow exact marginals, transitions and posteriors, training losses and
samplers. Start at `unmelt.degradations`.
"""

__version__ = "0.1.0"

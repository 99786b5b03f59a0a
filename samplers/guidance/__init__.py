"""Guidance: denoisers that know more than the latent, for every sampler."""

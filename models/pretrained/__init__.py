"""Models that others have trained: networks of diffusers with their processes, and the autoencoders around them."""

from .diffusers_network import DiffusersNetwork
from .latent_autoencoder import LatentAutoencoder
from .load_diffusers import load_diffusers
from .scheduler_settings import SchedulerSettings, TimestepSpacing

__all__ = ["DiffusersNetwork", "LatentAutoencoder", "SchedulerSettings", "TimestepSpacing", "load_diffusers"]

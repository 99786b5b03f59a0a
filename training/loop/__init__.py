"""The parts of the training loop: batches, steps, processes, signals, and the state that a checkpoint keeps of them."""

from .held_out import HeldOut

__all__ = ["HeldOut"]

"""Small models of diffusers with random weights, saved into folders as pipelines are."""

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMPipeline,
    DiTTransformer2DModel,
    UNet2DConditionModel,
    UNet2DModel,
)

SIZE = 8


def unet(**settings):
    """A network of images; its last layer, which starts at 0 elsewhere, is as random as the others."""
    torch.manual_seed(0)
    shape = {"sample_size": SIZE, "in_channels": 3, "out_channels": 3, "layers_per_block": 1, "norm_num_groups": 4}
    blocks = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
    return UNet2DModel(**{**shape, **blocks, "block_out_channels": (8, 16), "attention_head_dim": 4, **settings}).eval()


def text_unet(**settings):
    torch.manual_seed(0)
    shape = {"sample_size": SIZE, "in_channels": 4, "out_channels": 4, "layers_per_block": 1, "norm_num_groups": 4}
    blocks = {
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }
    attention = {"cross_attention_dim": 6, "attention_head_dim": 4}
    return UNet2DConditionModel(**{**shape, **blocks, **attention, "block_out_channels": (8, 16), **settings}).eval()


def dit(**settings):
    torch.manual_seed(0)
    shape = {"sample_size": SIZE, "in_channels": 4, "out_channels": 8, "patch_size": 2, "num_layers": 2}
    heads = {"num_attention_heads": 2, "attention_head_dim": 8, "num_embeds_ada_norm": 5}
    return DiTTransformer2DModel(**{**shape, **heads, **settings}).eval()


def autoencoder(**settings):
    torch.manual_seed(0)
    blocks = {
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "block_out_channels": (8, 16),
    }
    return AutoencoderKL(**{**blocks, "norm_num_groups": 4, "latent_channels": 4, **settings}).eval()


def saved(folder, model, scheduler, *, part="unet"):
    """Write both as a pipeline does, each into its own folder."""
    model.save_pretrained(folder / part)
    scheduler.save_pretrained(folder / "scheduler")
    return folder


def saved_pipeline(folder, model=None, scheduler=None):
    """Write a whole pipeline."""
    DDPMPipeline(model or unet(), scheduler or DDIMScheduler()).save_pretrained(folder)
    return folder

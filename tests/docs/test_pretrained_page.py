"""The page on pretrained models: its code runs on small models in the folders that it names, as diffusers does."""

import contextlib
import io
import re
from pathlib import Path

import torch
from diffusers import DDIMScheduler
from diffusers_models import autoencoder, saved_pipeline, unet

PAGE = (Path(__file__).parents[2] / "docs" / "how_to" / "use_a_pretrained_model.md").read_text()


def test_its_code_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scheduler = DDIMScheduler()
    saved_pipeline(tmp_path / "ddpm-cifar10-32", scheduler=scheduler)
    autoencoder().save_pretrained(tmp_path / "autoencoder")
    names: dict[str, object] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
            exec(compile(block, "use_a_pretrained_model.md", "exec"), names)  # noqa: S102
    assert "DiscreteSchedule(1000 levels" in printed.getvalue()
    assert "(4, 128, 128)" in printed.getvalue()
    assert names["again"].shape == names["pixels"].shape
    assert names["estimate"].shape == (3, *names["process"].shape)
    z, model = names["noise"], unet()
    scheduler.set_timesteps(50)
    with torch.no_grad():
        for k in scheduler.timesteps:
            z = scheduler.step(model(z, k).sample, k, z).prev_sample
    # In fifty steps, a network of random weights makes of single precision's roundings thousands of them.
    torch.testing.assert_close(names["images"], z, rtol=0, atol=0.05)

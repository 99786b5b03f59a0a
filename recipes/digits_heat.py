"""Inverse heat dissipation on the 8 x 8 digits of scikit-learn: a few minutes on a laptop's CPU.

After training it draws 256 samples and reports how many a classifier of real digits recognises, beside the same figure
for held-out digits, and how close samples lie to their nearest training image.

To reach: at least 84 % recognised (held-out digits: 95 %). Reached here: 93 %, in all ten classes.
"""

import torch

from unmelt.core import later
from unmelt.degradations import HeatDissipation, Independent, PredictPreviousLevel
from unmelt.evaluation import report_recognition
from unmelt.losses import SumOverDimensions
from unmelt.models import MarginalStd, UNet
from unmelt.samplers import Posterior
from unmelt.training import Digits, RunConfig, Training, launch

RECIPE = RunConfig(
    name="digits_heat",
    data=Digits(),
    process=later(HeatDissipation, levels=50, blur_sigma_min=0.3, blur_sigma_max=6.0, sigma=0.03),
    network=later(UNet, channels=32, multipliers=(1, 2), blocks=1, attention_levels=(1,)),
    prediction=PredictPreviousLevel(),
    reduction=SumOverDimensions(),
    sampler=Posterior(coupling=Independent(), reverse_std=MarginalStd(times_sigma=1.1)),
    optimizer=later(torch.optim.AdamW, lr=2e-3, weight_decay=0.0, fused=True),
    training=Training(
        steps=1400, warmup=100, cosine_decay=True, log_every=20, checkpoint_every=700, sample_every=700, cpu=True
    ),
)

if __name__ == "__main__":
    trained = launch(RECIPE, __doc__)
    if trained.accelerator.is_main_process:
        report_recognition(trained)

"""Every coupling, stepper of fixed steps and loss, once: what devices are tried with."""

from unmelt.degradations import Deterministic, Eta, Independent, Markov, PredictX
from unmelt.losses import (
    Antithetic,
    BoundWeighting,
    EDMWeighting,
    LearnedLogVariance,
    LogNormalTimes,
    LogSNRTimes,
    LossAwareTimes,
    LowDiscrepancy,
    MeanOverDimensions,
    MinSNRWeighting,
    P2Weighting,
    PowerLawWeighting,
    SigmoidWeighting,
    SimpleWeighting,
    Stratified,
)
from unmelt.samplers import Churn, Follow, Heun, Multistep, Posterior, PredictorCorrector

COUPLINGS = (Markov(), Deterministic(), Independent(), Eta(0.5))
STEPPERS = [
    *(Posterior(coupling) for coupling in COUPLINGS),
    Multistep(),
    Multistep(order=3),
    Multistep(eta=1.0),
    Multistep(follow=Follow.NOISE),
    Heun(),
    Heun(eta=1.0),
    Heun(churn=Churn(10.0)),
    PredictorCorrector(),
]
# Settings of the loss, new ones each time, since some learn. A process that one is not defined for refuses it.
LOSSES = {
    "simple": dict,
    "mean": lambda: {"reduction": MeanOverDimensions()},
    "in x": lambda: {"weighting": SimpleWeighting(in_terms_of=PredictX())},
    "minimal SNR": lambda: {"weighting": MinSNRWeighting()},
    "P2": lambda: {"weighting": P2Weighting()},
    "power law": lambda: {"weighting": PowerLawWeighting(0.5)},
    "EDM": lambda: {"weighting": EDMWeighting()},
    "learned": lambda: {"log_variance": LearnedLogVariance()},
    "stratified times": lambda: {"times": Stratified()},
    "even times": lambda: {"times": LowDiscrepancy()},
    "antithetic times": lambda: {"times": Antithetic()},
    "log-normal times": lambda: {"times": LogNormalTimes()},
    "log-SNR times": lambda: {"times": LogSNRTimes()},
    "loss-aware times": lambda: {"times": LossAwareTimes()},
    "bound": lambda: {"weighting": BoundWeighting()},
    "sigmoid": lambda: {"weighting": SigmoidWeighting(0.0)},
}

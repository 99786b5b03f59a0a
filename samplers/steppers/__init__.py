"""Steppers: how one step from t to s is taken. Each is a frozen value in its own file."""

from .adaptive import Adaptive
from .heun import Churn, Heun
from .multistep import Multistep
from .posterior import Posterior
from .predictor_corrector import PredictorCorrector

__all__ = [
    "Adaptive",
    "Churn",
    "Heun",
    "Multistep",
    "Posterior",
    "PredictorCorrector",
]

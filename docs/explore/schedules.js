// Schedules: what scalar alpha(t) and sigma(t) are, and how wide a blur is. Times run from 0, data, to 1, noise.
"use strict";

(function (unmelt) {
  const { logSigmoid } = unmelt.logarithms;

  /** A schedule that preserves variance, alpha^2 + sigma^2 = 1, from its log-SNR. */
  function variancePreserving(logSnr) {
    return { logAlpha: (t) => logSigmoid(logSnr(t)) / 2, logSigma: (t) => logSigmoid(-logSnr(t)) / 2 };
  }

  /** log-SNR(t) = -2 log tan(a t + b), from 10 to -10; each angle from its own end, where the tangent has its digits. */
  function cosine() {
    const edge = Math.atan(Math.exp(-5));
    const stretch = Math.PI / 2 - 2 * edge;
    const side = (t) => Math.sin(stretch * t + edge);
    return variancePreserving((t) => 2 * Math.log(side(1 - t) / side(t)));
  }

  /** DDPM's: its noise rate grows linearly from 0.1 to 20. */
  function linear() {
    const logAlpha = (t) => (-(20 - 0.1) / 4) * t * t - (0.1 / 2) * t;
    return { logAlpha, logSigma: (t) => Math.log(-Math.expm1(2 * logAlpha(t))) / 2 };
  }

  /** Straight lines from data to noise, alpha = 1 - t and sigma = t. */
  function rectifiedFlow() {
    return { logAlpha: (t) => Math.log1p(-t), logSigma: (t) => Math.log(t) };
  }

  /** Variance exploding: the signal stays, noise grows from 0.01 to 50 by equal factors. */
  function geometric() {
    return { logAlpha: () => 0, logSigma: (t) => Math.log(0.01) + t * Math.log(50 / 0.01) };
  }

  /** Noise of one strength at all times, as in heat dissipation; 0 is none at all. */
  function constantNoise(sigma) {
    return { logAlpha: () => 0, logSigma: () => Math.log(sigma) };
  }

  /** Width in pixels: 200 levels evenly spaced in its logarithm from 0.5 to the maximum, linear below the first. */
  function logSpacedBlur(maximum) {
    const [minimum, levels] = [0.5, 200];
    const growth = Math.log(maximum / minimum) / (levels - 1);
    return (t) => minimum * (t * levels < 1 ? t * levels : Math.exp(growth * (t * levels - 1)));
  }

  /** Width in pixels of blurring diffusion: maximum sin^2(pi t / 2). */
  function sineBlur(maximum) {
    return (t) => maximum * Math.sin((Math.PI / 2) * t) ** 2;
  }

  unmelt.schedules = {
    named: {
      cosine: { title: "cosine", make: cosine },
      linear: { title: "linear (DDPM)", make: linear },
      flow: { title: "rectified flow", make: rectifiedFlow },
      geometric: { title: "variance exploding", make: geometric },
    },
    constantNoise,
    logSpacedBlur,
    sineBlur,
  };
})(window.unmelt);

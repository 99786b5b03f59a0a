// q(z_s | z_t, x) = N(alpha_s u + c (u_t - alpha_t u), sigma_s^2 (1 - rho^2)), c = rho sigma_s / sigma_t, for s <= t.
//
// rho is the correlation of the two levels' noises, which the marginals leave open: a coupling chooses it, here as
// its logarithm, from the change l_t - l_s of the log-SNR.
"use strict";

(function (unmelt) {
  const { logRatio } = unmelt.logarithms;

  const couplings = {
    markov: { title: "Markov (DDPM)", logCorrelation: (change) => change / 2 },
    deterministic: { title: "Deterministic (DDIM)", logCorrelation: () => 0 },
    independent: { title: "Independent (heat)", logCorrelation: () => -Infinity },
    eta: {
      title: "Eta (in between)",
      logCorrelation: (change, eta) => Math.log1p(eta ** 2 * Math.expm1(change)) / 2,
    },
  };

  /** l_t - l_s <= 0 of coefficient k; minus infinity where level t keeps no signal or level s has no noise. */
  function logSnrChange(atS, atT, k) {
    const fade = logRatio(atT.logAlpha(k), atS.logAlpha(k));
    const growth = logRatio(atT.logSigma(k), atS.logSigma(k));
    return Math.min(0, 2 * logRatio(fade, growth));
  }

  /**
   * The coefficients of z_t and x in the posterior's mean, and its standard deviation, for coefficient k.
   *
   * For processes whose noise never shrinks, as all on this page; the library's takes others, too.
   */
  function posterior(atS, atT, coupling, k) {
    const change = logSnrChange(atS, atT, k);
    const ratio = logRatio(atS.logSigma(k), atT.logSigma(k));
    const logRho = couplings[coupling.name].logCorrelation(change, coupling.eta);
    return {
      latent: Math.exp(logRho + ratio),
      data: -Math.expm1(logRho + change / 2) * Math.exp(atS.logAlpha(k)),
      deviation: Math.exp(atS.logSigma(k)) * Math.sqrt(-Math.expm1(2 * logRho)),
    };
  }

  unmelt.posteriors = { couplings, posterior };
})(window.unmelt);

// Logarithms of coefficients, infinities included: minus infinity is a coefficient that is 0.
"use strict";
window.unmelt = window.unmelt || {};

(function (unmelt) {
  /** a - b for logarithms, where a difference of equal infinities is 0. */
  function logRatio(a, b) {
    return a === b && !Number.isFinite(a) ? 0 : a - b;
  }

  /** log(1 / (1 + exp(-x))), which neither overflows nor loses digits. */
  function logSigmoid(x) {
    return Math.min(0, x) - Math.log1p(Math.exp(-Math.abs(x)));
  }

  unmelt.logarithms = { logRatio, logSigmoid };
})(window.unmelt);

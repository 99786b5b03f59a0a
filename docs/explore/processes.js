// The forward processes: q(z_t | x) = N(alpha_t u, sigma_t^2), a number alpha and sigma for each coefficient u of x.
//
// A process has the range of its data, the order of its coefficients with their basis, and `at(t)`: its level at a time,
// with log alpha and log sigma of coefficient k. Whatever else the page shows is made of these two logarithms.
"use strict";

(function (unmelt) {
  const { logRatio } = unmelt.logarithms;
  const { constantNoise, logSpacedBlur, sineBlur, named } = unmelt.schedules;
  const { PIXELS, SIZE } = unmelt.transforms;
  const orders = unmelt.orders;

  const UNIT = [0, 1];
  const SYMMETRIC = [-1, 1];

  /** A blur of `width(t)` pixels, which leaves `minScale` of the highest frequencies, under white noise. */
  function blur(width, noise, minScale, range) {
    function at(t) {
      const time = width(t) ** 2 / 2;
      const [logAlpha, logSigma] = [noise.logAlpha(t), noise.logSigma(t)];
      const fade = (k) => -orders.eigenvalue[k] * time;
      // log((1 - d) e^-y + d), exact where the blur is weak.
      const kept = minScale ? (k) => Math.log1p((1 - minScale) * Math.expm1(fade(k))) : fade;
      return { t, logAlpha: (k) => logAlpha + kept(k), logSigma: () => logSigma };
    }
    return { range, order: orders.frequency, at };
  }

  /** The signal fades evenly under noise of a given variance per coefficient, relative to white noise. */
  function spectral(schedule, variance) {
    const logNoise = variance.map((value) => Math.log(value) / 2);
    function at(t) {
      const [logAlpha, logSigma] = [schedule.logAlpha(t), schedule.logSigma(t)];
      return { t, logAlpha: () => logAlpha, logSigma: (k) => logSigma + logNoise[k] };
    }
    return { range: SYMMETRIC, order: orders.frequency, at };
  }

  /** Each coefficient fades from 1 to 0 along a cosine, from its onset on and for a duration. */
  function masking(order, onset, duration, noise) {
    // What has gone has gone: rounding may leave it a little less than that.
    const gone = 1 - (4 * Number.EPSILON) / duration;
    function at(t) {
      const logSigma = noise.logSigma(t);
      function logAlpha(k) {
        const progress = Math.min(1, Math.max(0, (t - onset[k]) / duration));
        return progress < gone ? Math.log(Math.cos((Math.PI / 2) * progress)) : -Infinity;
      }
      return { t, logAlpha, logSigma: () => logSigma };
    }
    return { range: UNIT, order, at };
  }

  /** Noise proportional to a spectrum, as strong on average as white noise. */
  function equalSnr(spectrum) {
    const mean = spectrum.reduce((sum, value) => sum + value, 0) / spectrum.length;
    return spectrum.map((value) => value / mean);
  }

  const noise = { name: "sigma", label: "Noise σ", low: 0, high: 0.2, step: 0.005, value: 0.01 };
  const schedule = { name: "schedule", label: "Schedule", choices: named, value: "cosine" };
  const blurWidth = { name: "blur", label: "Widest blur (px)", low: 1, high: 64, step: 1 };

  // `make(settings, spectrum)`: settings by name; the spectrum is the picture's, a variance per coefficient.
  const families = {
    heat: {
      title: "Heat dissipation",
      about: "The image melts as heat spreads, finest detail first, under a little noise.",
      settings: [{ ...blurWidth, value: 64 }, noise],
      make: ({ blur: width, sigma }) => blur(logSpacedBlur(width), constantNoise(sigma), 0, UNIT),
    },
    isotropic: {
      title: "Isotropic diffusion",
      about: "Every pixel fades and is covered with white noise alike: DDPM and its kin.",
      settings: [schedule],
      make: ({ schedule: name }) => spectral(named[name].make(), new Float64Array(PIXELS).fill(1)),
    },
    equalSnr: {
      title: "Equal-SNR diffusion",
      about: "Noise with the spectrum of this very picture: all frequencies drown at once.",
      settings: [schedule],
      make: ({ schedule: name }, spectrum) => spectral(named[name].make(), equalSnr(spectrum)),
    },
    blurring: {
      title: "Blurring diffusion",
      about: "Blur and white noise together: each frequency has a diffusion of its own.",
      settings: [{ ...blurWidth, low: 0, value: 20 }, schedule],
      make: ({ blur: width, schedule: name }) => blur(sineBlur(width), named[name].make(), 0.001, SYMMETRIC),
    },
    pixelation: {
      title: "Pixelation",
      about: "Blocks of 2, 4, 8, … pixels melt into their means, scale by scale.",
      settings: [noise],
      make({ sigma }) {
        const count = Math.log2(SIZE);
        const onset = orders.scale.positions.map((scale) => (scale - 1) / count);
        return masking(orders.scale, onset, 1 / count, constantNoise(sigma));
      },
    },
    mask: {
      title: "Mask",
      about: "A hole grows from the middle: pixels fade one after the other.",
      settings: [{ name: "duration", label: "Each pixel takes", low: 0.05, high: 1, step: 0.05, value: 0.25 }, noise],
      make({ duration, sigma }) {
        const onset = orders.distance.positions.map((distance) => (1 - duration) * distance);
        return masking(orders.distance, onset, duration, constantNoise(sigma));
      },
    },
  };

  /** The settings that a family has unless told otherwise, by name. */
  function defaults(family) {
    return Object.fromEntries(families[family].settings.map(({ name, value }) => [name, value]));
  }

  /** l_t = log alpha_t^2 - log sigma_t^2 of coefficient k. */
  function logSnr(level, k) {
    // Where no signal is left it is minus infinity, noise or none.
    const signal = level.logAlpha(k);
    return signal === -Infinity ? signal : 2 * logRatio(signal, level.logSigma(k));
  }

  unmelt.processes = { families, defaults, logSnr };
})(window.unmelt);

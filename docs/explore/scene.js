// A scene: a picture and a noise under a process, transformed once, so that each time costs one transform back.
"use strict";

(function (unmelt) {
  const { CHANNELS, PIXELS, cosine } = unmelt.transforms;
  const { frequency, groupMeans } = unmelt.orders;
  const { families } = unmelt.processes;

  /** The mean over channels of squared coefficients. */
  function power(coefficients) {
    const found = new Float64Array(PIXELS);
    for (let i = 0; i < coefficients.length; i++) found[i % PIXELS] += coefficients[i] ** 2 / CHANNELS;
    return found;
  }

  // A picture of one colour has no detail, and noise like it would have none: its spectrum ends at this variance.
  const LEAST = 1e-6;

  /** A picture's variance per cosine: its mean power over bands of frequency, the constant's as in the lowest band. */
  function radialSpectrum(coefficients) {
    const bands = groupMeans(frequency, power(coefficients)).map((value) => Math.max(value, LEAST));
    return Float64Array.from(frequency.group, (band) => bands[band]);
  }

  /** u alpha, and u alpha + n sigma, for coefficients u of the picture and n of the noise. */
  function combined(scene, level) {
    const signal = new Float64Array(CHANNELS * PIXELS);
    const latent = new Float64Array(CHANNELS * PIXELS);
    for (let k = 0; k < PIXELS; k++) {
      const [alpha, sigma] = [Math.exp(level.logAlpha(k)), Math.exp(level.logSigma(k))];
      for (let i = k; i < signal.length; i += PIXELS) {
        signal[i] = alpha * scene.coefficients[i];
        latent[i] = signal[i] + sigma * scene.noise[i];
      }
    }
    return { signal, latent };
  }

  /** The same of the cosines: where the process has another basis its noise is white, and needs no second transform. */
  function wavesOf(scene, level, parts) {
    if (scene.process.order.basis === cosine) return parts;
    const signal = cosine.analyse(scene.process.order.basis.synthesise(parts.signal));
    const sigma = Math.exp(level.logSigma(0));
    return { signal, latent: signal.map((value, i) => value + sigma * scene.noiseWaves[i]) };
  }

  /** What there is to see at a time: z_t, and powers by band of frequency of the signal, the noise and z_t. */
  function look(scene, t) {
    const level = scene.process.at(t);
    const parts = combined(scene, level);
    const { signal, latent } = wavesOf(scene, level, parts);
    const variance = Float64Array.from({ length: PIXELS }, (_, k) => Math.exp(2 * level.logSigma(k)));
    return {
      pixels: scene.process.order.basis.synthesise(parts.latent),
      signal: groupMeans(frequency, power(signal)),
      latent: groupMeans(frequency, power(latent)),
      noise: groupMeans(frequency, variance),
    };
  }

  /** White noise in pixels and in cosines, the same for all processes. */
  function noiseOf(seed) {
    const white = unmelt.whiteNoise(seed, CHANNELS * PIXELS);
    return { white, waves: cosine.analyse(white) };
  }

  /** The scene of a family's process on a picture in bytes, under a noise. */
  function make(family, settings, bytes, { white, waves: noiseWaves }) {
    // Only the range is asked for here: a spectrum needs the picture, and the picture its range.
    const { range } = families[family].make(settings, new Float64Array(PIXELS).fill(1));
    const picture = unmelt.pictures.numbers(bytes, range);
    const waves = cosine.analyse(picture);
    const spectrum = radialSpectrum(waves);
    const process = families[family].make(settings, spectrum);
    const { basis } = process.order;
    const coefficients = basis === cosine ? waves : basis.analyse(picture);
    const groupPower = groupMeans(process.order, power(coefficients));
    const noise = basis === cosine ? noiseWaves : basis.analyse(white);
    return { process, picture, spectrum, waves, coefficients, groupPower, noise, noiseWaves };
  }

  unmelt.scene = { noiseOf, make, look, power };
})(window.unmelt);

// White noise from a seed: the same numbers at all times and on all machines.
"use strict";

(function (unmelt) {
  /** Uniform numbers in (0, 1), by the shifts 13, 17 and 5 of Marsaglia (2003), Xorshift RNGs. */
  function uniform(seed) {
    // Neighbouring seeds begin far apart, and none of them at 0, where the generator would stay.
    let state = Math.imul(seed + 1, 0x9e3779b1) | 1;
    function next() {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return (state >>> 0) / 2 ** 32;
    }
    for (let i = 0; i < 16; i++) next();
    return next;
  }

  /** `count` independent standard normal numbers (Box & Muller, 1958). */
  function whiteNoise(seed, count) {
    const next = uniform(seed);
    return Float64Array.from({ length: count }, () => {
      const radius = Math.sqrt(-2 * Math.log(next()));
      return radius * Math.cos(2 * Math.PI * next());
    });
  }

  unmelt.whiteNoise = whiteNoise;
})(window.unmelt);

// What the plots show, in a sentence: for who cannot see them, and for who can.
"use strict";

(function (unmelt) {
  function rounded(value, digits = 2) {
    // Four places are enough: what is smaller is nothing to look at.
    return Number(Number(value.toPrecision(digits)).toFixed(4)).toString();
  }

  /** Which frequencies lie below the noise, from powers by band. */
  function drowned({ signal, noise }, frequencies) {
    const below = Array.from(signal, (value, i) => value < noise[i]);
    const count = below.filter(Boolean).length;
    if (count === 0) return "no frequency lies below the noise";
    if (count === below.length) return "all frequencies lie below the noise";
    const first = below.indexOf(true);
    if (below.slice(first).every(Boolean)) {
      return `frequencies above ${rounded(frequencies[first])} cycles per pixel lie below the noise`;
    }
    return `${count} of ${below.length} bands of frequency lie below the noise`;
  }

  /** The smallest and largest of some numbers, or the one that they all are. */
  function span(values, digits = 2) {
    const [low, high] = [Math.min(...values), Math.max(...values)].map((value) => rounded(value, digits));
    return low === high ? low : `${low} to ${high}`;
  }

  function posterior(s, t, lines) {
    const parts = [`z_t ${span(lines.latent)}`, `x ${span(lines.data)}`, `standard deviation ${span(lines.deviation)}`];
    return `From t = ${t.toFixed(3)} to s = ${s.toFixed(3)}: ${parts.join(", ")}.`;
  }

  /** When the rows of a map fall through a log-SNR of 0. */
  function map({ order, crossings }) {
    const times = crossings.filter((time) => time !== undefined);
    const { noun } = order.axis;
    if (!times.length) return `Nothing crosses from signal into noise: no ${noun} drown.`;
    const count = crossings.length;
    const which = times.length === count ? `All ${noun} drown` : `Of ${count} ${noun}, ${times.length} drown`;
    const [first, last] = [Math.min(...times), Math.max(...times)].map((time) => time.toFixed(2));
    return first === last ? `${which} together, at t = ${first}.` : `${which}, between t = ${first} and t = ${last}.`;
  }

  unmelt.words = { drowned, map, posterior };
})(window.unmelt);

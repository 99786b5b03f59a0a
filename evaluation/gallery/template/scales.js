// Scales of plots: from numbers to places, ticks at round numbers, and numbers as texts.
"use strict";

(function (unmelt) {
  const MANTISSAS = [[1], [1, 3], [1, 2, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9]];

  function text(value) {
    if (value === 0) return "0";
    const size = Math.abs(value);
    const short = size < 1e-3 || size >= 1e5 ? value.toExponential(2) : `${Number(value.toPrecision(4))}`;
    return short.replace(/\.?0+e/, "e").replace("e+", "e").replace("-", "−");
  }

  function decades(low, high, wanted) {
    for (const mantissas of MANTISSAS) {
      const ticks = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
        ticks.push(...mantissas.map((m) => m * 10 ** power).filter((tick) => tick >= low && tick <= high));
      }
      if (ticks.length >= 3) {
        // Every so many of them, where there are more than find room.
        const stride = Math.ceil(ticks.length / wanted);
        return ticks.filter((_, i) => i % stride === 0);
      }
    }
    return steps(low, high, wanted);
  }

  function steps(low, high, wanted) {
    const rough = (high - low) / wanted;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 2.5, 5, 10].find((m) => m * power >= rough);
    const first = Math.ceil(low / step);
    return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
  }

  /** The ends of an axis that holds all values, with a little room. */
  function ends(values, logarithmic) {
    const map = logarithmic ? Math.log : (value) => value;
    const back = logarithmic ? Math.exp : (value) => value;
    const places = values.map(map);
    const [low, high] = [Math.min(...places), Math.max(...places)];
    const room = high > low ? 0.04 * (high - low) : logarithmic ? 0.1 : Math.abs(high) * 0.1 || 1;
    return [back(low - room), back(high + room)];
  }

  /** An axis from the pixel `from` to the pixel `to`. */
  function scale([low, high], logarithmic, from, to, wanted) {
    const map = logarithmic ? Math.log : (value) => value;
    const [start, end] = [map(low), map(high)];
    const place = (value) => from + ((to - from) * (map(value) - start)) / (end - start);
    // What a logarithmic axis has no place for lies at its end.
    const at = (value) => place(logarithmic ? Math.max(value, low) : value);
    return { at, ticks: (logarithmic ? decades : steps)(low, high, wanted) };
  }

  unmelt.scales = { text, ends, scale };
})(window.unmelt);

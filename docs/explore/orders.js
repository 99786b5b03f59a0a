// Orders: the one number that the coefficients of a basis are told apart by, and the groups of those that share it.
"use strict";

(function (unmelt) {
  const { SIZE, PIXELS, cosine, haar, pixel } = unmelt.transforms;
  const ROWS = 120;
  const BANDS = 30;

  /** The Laplacian's eigenvalue of each cosine, in pixel^-2. */
  function eigenvalues() {
    const axis = Float64Array.from({ length: SIZE }, (_, n) => ((Math.PI / SIZE) * n) ** 2);
    return Float64Array.from({ length: PIXELS }, (_, k) => axis[Math.floor(k / SIZE)] + axis[k % SIZE]);
  }

  /** Every coefficient's scale, 1 for differences of single pixels to 8 for the sum of all. */
  function scales() {
    const most = Math.log2(SIZE);
    return Float64Array.from({ length: PIXELS }, (_, k) => {
      const place = Math.max(Math.floor(k / SIZE), k % SIZE);
      return place ? most - Math.floor(Math.log2(place)) : most + 1;
    });
  }

  /** Every pixel's distance from the middle, 1 in the corners. */
  function distances() {
    const offset = Float64Array.from({ length: SIZE }, (_, i) => ((i + 0.5) / SIZE) * 2 - 1);
    const lengths = Float64Array.from({ length: PIXELS }, (_, k) =>
      Math.sqrt(offset[Math.floor(k / SIZE)] ** 2 + offset[k % SIZE] ** 2),
    );
    return lengths.map((length) => length / lengths[0]);
  }

  /** Put the coefficients into groups between rising edges; a group that would be empty is no group. */
  function grouped(positions, edges) {
    const place = (position) => edges.reduce((found, edge, i) => (position >= edge ? i : found), 0);
    const raw = Array.from(positions, place);
    const used = [...new Set(raw)].sort((a, b) => a - b);
    const number = new Map(used.map((group, i) => [group, i]));
    return { group: Int32Array.from(raw, (group) => number.get(group)), count: used.length };
  }

  /** The mean of a table over each group; `skip` leaves out what belongs to no band. */
  function groupMeans(order, table) {
    const [sums, members] = [new Float64Array(order.count), new Float64Array(order.count)];
    for (let k = order.skip; k < table.length; k++) {
      sums[order.group[k]] += table[k];
      members[order.group[k]] += 1;
    }
    return sums.map((sum, i) => sum / members[i]);
  }

  /** The coefficients closest to some positions, each once, in rising order. */
  function nearest(positions, targets, skip) {
    const sorted = Array.from(positions.keys()).slice(skip).sort((a, b) => positions[a] - positions[b]);
    const chosen = targets.map((target) => {
      const after = sorted.findIndex((k) => positions[k] >= target);
      const [low, high] = [sorted[Math.max(after - 1, 0)], sorted[after < 0 ? sorted.length - 1 : after]];
      return target - positions[low] < positions[high] - target ? low : high;
    });
    return [...new Set(chosen)];
  }

  function spread(low, high, count) {
    return Array.from({ length: count }, (_, i) => low + ((high - low) * i) / (count - 1));
  }

  function made(basis, positions, { edges, targets, skip = 0, axis }) {
    const { group, count } = grouped(positions, edges);
    const order = { basis, positions, group, count, skip, axis, rows: nearest(positions, targets, skip) };
    return { ...order, bands: groupMeans(order, positions) };
  }

  const eigenvalue = eigenvalues();

  function byFrequency() {
    const frequency = eigenvalue.map((value) => Math.sqrt(value) / (2 * Math.PI));
    const [low, high] = [1 / (2 * SIZE), Math.SQRT1_2];
    const logarithmic = (count) => spread(Math.log(low), Math.log(high), count).map(Math.exp);
    // A hair lower, so that rounding cannot take the lowest frequency out of its band.
    const edges = logarithmic(BANDS + 1).slice(0, -1).map((edge) => edge * (1 - 1e-9));
    const label = "frequency (cycles per pixel)";
    const ticks = [0.01, 0.03, 0.1, 0.3];
    const axis = { label, short: "cycles per pixel", low, high, logarithmic: true, ticks, noun: "frequencies" };
    // The constant, coefficient 0, has no place on a logarithmic axis.
    return made(cosine, frequency, { edges, targets: logarithmic(ROWS), skip: 1, axis });
  }

  function byScale() {
    const scale = scales();
    const levels = spread(1, 8, 8);
    const name = (j) => (j > 7 ? "all" : `${2 ** j}`);
    const label = "size of block (pixels)";
    const axis = { label, short: "block (pixels)", low: 0.5, high: 8.5, ticks: levels, name, noun: "scales" };
    return made(haar, scale, { edges: levels, targets: levels, axis });
  }

  function byDistance() {
    const targets = spread(0, 1, ROWS / 2);
    const label = "distance from the middle (corners: 1)";
    const ticks = [0, 0.25, 0.5, 0.75, 1];
    const axis = { label, short: "distance", low: 0, high: 1, ticks, noun: "distances" };
    return made(pixel, distances(), { edges: spread(0, 1, 41).slice(0, -1), targets, axis });
  }

  unmelt.orders = { eigenvalue, groupMeans, frequency: byFrequency(), scale: byScale(), distance: byDistance() };
})(window.unmelt);

// The posterior's coefficients along the order of the process: those of z_t and x, and its standard deviation.
"use strict";

(function (unmelt) {
  const { open, close, inside, stroke } = unmelt.frames;
  const { posterior } = unmelt.posteriors;
  const TOPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];

  /** An axis from 0 that ends in a round number above all lines: most of them lie below 1. */
  function axisOf(lines) {
    const most = Math.max(...Object.values(lines).flat());
    const top = TOPS.find((value) => most <= value) ?? most;
    const ticks = [0, 0.25, 0.5, 0.75, 1].map((part) => part * top);
    return { label: "coefficient", low: -0.04 * top, high: 1.08 * top, ticks };
  }

  /** The three lines of a step from t to s: a number for each row of the process's order. */
  function lines(process, s, t, coupling) {
    const [atS, atT] = [process.at(s), process.at(t)];
    const found = process.order.rows.map((k) => posterior(atS, atT, coupling, k));
    return Object.fromEntries(["latent", "data", "deviation"].map((name) => [name, found.map((row) => row[name])]));
  }

  function line(frame, order, values, { colour, dash = [] }) {
    const { context } = frame;
    context.strokeStyle = colour;
    context.lineWidth = 2;
    context.setLineDash(dash);
    stroke(context, order.rows.map((k, i) => [frame.x(order.positions[k]), frame.y(values[i])]));
    context.setLineDash([]);
  }

  function draw(canvas, order, lines) {
    const { latent, data, deviation } = lines;
    const frame = open(canvas, order.axis, axisOf(lines));
    const { ink, signal, noise } = frame.colours;
    inside(frame, () => {
      line(frame, order, deviation, { colour: noise, dash: [2, 3] });
      line(frame, order, data, { colour: signal });
      line(frame, order, latent, { colour: ink, dash: [8, 4] });
    });
    close(frame);
  }

  unmelt.posteriorPlot = { lines, draw };
})(window.unmelt);

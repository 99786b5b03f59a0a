// The posterior's coefficients along the order of the process: those of z_t and x, and its standard deviation.
"use strict";

(function (unmelt) {
  const { open, close, inside, stroke } = unmelt.frames;
  const { posterior } = unmelt.posteriors;
  const AXIS = { label: "coefficient", low: -0.05, high: 1.15, ticks: [0, 0.25, 0.5, 0.75, 1] };

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

  function draw(canvas, order, { latent, data, deviation }) {
    const frame = open(canvas, order.axis, AXIS);
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

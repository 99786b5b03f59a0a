// The radial spectrum: the signal's power by frequency, and the noise floor that it sinks under.
"use strict";

(function (unmelt) {
  const { open, close, inside, stroke } = unmelt.frames;
  const { frequency } = unmelt.orders;

  const LEVELS = Array.from({ length: 6 }, (_, i) => 10 ** (2 * i - 6));
  const SUPERSCRIPTS = { "-": "⁻", 0: "⁰", 2: "²", 4: "⁴", 6: "⁶" };
  const name = (tick) => `10${[...`${Math.round(Math.log10(tick))}`].map((sign) => SUPERSCRIPTS[sign]).join("")}`;
  const POWER = { label: "power", low: 2e-7, high: 2e4, logarithmic: true, ticks: LEVELS, name };
  // What has vanished lies below the frame, not at minus infinity, where no line leads.
  const LEAST = 1e-12;

  function points(frame, values) {
    return Array.from(values, (value, i) => [frame.x(frequency.bands[i]), frame.y(Math.max(value, LEAST))]);
  }

  function fillBelow({ context, area }, line, colour, opacity) {
    context.save();
    context.globalAlpha = opacity;
    context.fillStyle = colour;
    context.beginPath();
    context.moveTo(line[0][0], area.bottom);
    for (const [x, y] of line) context.lineTo(x, y);
    context.lineTo(line.at(-1)[0], area.bottom);
    context.fill();
    context.restore();
  }

  function dots({ context }, line, colour) {
    context.fillStyle = colour;
    for (const [x, y] of line) {
      context.beginPath();
      context.arc(x, y, 1.6, 0, 2 * Math.PI);
      context.fill();
    }
  }

  function curves(frame, seen, before) {
    const { context, colours } = frame;
    const [signal, noise, start] = [seen.signal, seen.noise, before].map((values) => points(frame, values));
    fillBelow(frame, signal, colours.signal, 0.16);
    fillBelow(frame, noise, colours.noise, 0.28);
    context.lineWidth = 1;
    context.strokeStyle = colours.signal;
    context.setLineDash([2, 4]);
    stroke(context, start);
    context.setLineDash([]);
    context.lineWidth = 2;
    context.strokeStyle = colours.noise;
    stroke(context, noise);
    context.strokeStyle = colours.signal;
    stroke(context, signal);
    dots(frame, points(frame, seen.latent), colours.ink);
  }

  /** Draw what is seen at a time, and dotted the signal's power before anything has faded. */
  function draw(canvas, seen, before) {
    const frame = open(canvas, frequency.axis, POWER);
    inside(frame, () => curves(frame, seen, before));
    close(frame);
  }

  unmelt.spectrumPlot = { draw };
})(window.unmelt);

// The map of the log-SNR: time to the right, the order of the coefficients upwards, and the line where it is 0.
"use strict";

(function (unmelt) {
  const { open, close, inside, stroke, colours } = unmelt.frames;
  const { logSnr } = unmelt.processes;
  const TIMES = 160;
  // Colours are full at this many nats, a ratio of powers of 22,000.
  const FULL = 10;
  const TIME = { label: "time t", low: 0, high: 1, ticks: [0, 0.25, 0.5, 0.75, 1] };

  function channels(colour) {
    return [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
  }

  /** The log-SNR of each row of the order at each time, of coefficients of size 1 or as large as the picture's. */
  function values(scene, ofPicture) {
    const { order } = scene.process;
    const size = (k) => (ofPicture ? Math.log(scene.groupPower[order.group[k]]) : 0);
    const sizes = order.rows.map(size);
    const columns = Array.from({ length: TIMES }, (_, i) => scene.process.at(i / (TIMES - 1)));
    return order.rows.map((k, row) => columns.map((level) => logSnr(level, k) + sizes[row]));
  }

  /** A colour between that of noise and that of signal; undefined where a signal of 0 meets no noise. */
  function blend(value, { noise, panel, signal }) {
    const strength = Number.isNaN(value) ? 0 : Math.max(-1, Math.min(1, value / FULL));
    const end = strength < 0 ? noise : signal;
    return panel.map((start, i) => start + (end[i] - start) * Math.abs(strength));
  }

  /** The map as a picture of a pixel for each row and time, the first row at the bottom. */
  function painted(table) {
    const { noise, panel, signal } = colours();
    const ends = { noise: channels(noise), panel: channels(panel), signal: channels(signal) };
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [TIMES, table.length];
    const pixels = new ImageData(TIMES, table.length);
    table.forEach((row, i) => {
      row.forEach((value, j) => {
        pixels.data.set([...blend(value, ends), 255], 4 * ((table.length - 1 - i) * TIMES + j));
      });
    });
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    return canvas;
  }

  /** Where each row's log-SNR falls through 0: a time, or undefined where it does not. */
  function crossings(table) {
    return table.map((row) => {
      const after = row.findIndex((value) => value < 0);
      if (after <= 0) return undefined;
      const [high, low] = [row[after - 1], row[after]];
      const part = Number.isFinite(high - low) ? high / (high - low) : 0.5;
      return (after - 1 + part) / (TIMES - 1);
    });
  }

  function prepare(scene, ofPicture) {
    const table = values(scene, ofPicture);
    return { order: scene.process.order, picture: painted(table), crossings: crossings(table) };
  }

  /** Rows are drawn where their positions lie, halfway to their neighbours. */
  function rowEdges({ order }, y, area) {
    const places = order.rows.map((k) => y(order.positions[k]));
    const between = places.slice(1).map((place, i) => (place + places[i]) / 2);
    return [area.bottom, ...between, area.top];
  }

  function paintRows(frame, map, edges) {
    const { context, area } = frame;
    const count = map.order.rows.length;
    context.imageSmoothingEnabled = false;
    for (let i = 0; i < count; i++) {
      const height = edges[i] - edges[i + 1];
      // Half a pixel more hides the seams between rows.
      const place = [area.left, edges[i + 1] - 0.5, area.right - area.left, height + 0.5];
      context.drawImage(map.picture, 0, count - 1 - i, TIMES, 1, ...place);
    }
  }

  function zeroLine(frame, map, edges) {
    const { context, x } = frame;
    context.strokeStyle = frame.colours.ink;
    context.lineWidth = 1.5;
    context.beginPath();
    map.crossings.forEach((time, i) => {
      if (time === undefined) return;
      // A step from row to row, so that few rows are drawn as what they are.
      const joined = i > 0 && map.crossings[i - 1] !== undefined;
      (joined ? context.lineTo : context.moveTo).call(context, x(time), edges[i]);
      context.lineTo(x(time), edges[i + 1]);
    });
    context.stroke();
  }

  function marker({ context, area, x, colours: { ink } }, t) {
    context.strokeStyle = ink;
    context.lineWidth = 1;
    context.setLineDash([4, 3]);
    stroke(context, [[x(t), area.top], [x(t), area.bottom]]);
    context.setLineDash([]);
  }

  /** Draw a prepared map, with a marker at time t. */
  function draw(canvas, map, t) {
    const frame = open(canvas, TIME, map.order.axis);
    const edges = rowEdges(map, frame.y, frame.area);
    inside(frame, () => {
      paintRows(frame, map, edges);
      zeroLine(frame, map, edges);
      marker(frame, t);
    });
    close(frame, { across: false });
  }

  unmelt.logSnrMap = { prepare, draw };
})(window.unmelt);

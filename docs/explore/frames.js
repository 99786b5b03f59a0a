// Frames of plots: a canvas as sharp as the screen, scales, ticks and labels, in the page's colours.
"use strict";

(function (unmelt) {
  const MARGIN = { left: 60, right: 14, top: 10, bottom: 38 };

  /** The page's colours by name, as the style sheet has them in the present theme. */
  function colours() {
    const style = getComputedStyle(document.documentElement);
    const names = ["ink", "muted", "line", "panel", "signal", "noise"];
    return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }

  /** A function from numbers between low and high to pixels between from and to. */
  function scale({ low, high, logarithmic }, from, to) {
    const map = logarithmic ? Math.log : (value) => value;
    const [start, end] = [map(low), map(high)];
    return (value) => from + ((to - from) * (map(value) - start)) / (end - start);
  }

  /** A cleared canvas of as many pixels as the screen has for it, with scales of both axes. */
  function open(canvas, xAxis, yAxis) {
    const [ratio, width, height] = [window.devicePixelRatio || 1, canvas.clientWidth, canvas.clientHeight];
    const [columns, rows] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== columns || canvas.height !== rows) [canvas.width, canvas.height] = [columns, rows];
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const area = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
    const [x, y] = [scale(xAxis, area.left, area.right), scale(yAxis, area.bottom, area.top)];
    return { context, area, x, y, xAxis, yAxis, colours: colours() };
  }

  function ticksBelow({ context, area, x, xAxis }) {
    context.textAlign = "center";
    context.textBaseline = "top";
    for (const tick of xAxis.ticks) context.fillText(nameOf(xAxis, tick), x(tick), area.bottom + 6);
    context.fillText(xAxis.label, (area.left + area.right) / 2, area.bottom + 22);
  }

  function ticksAside({ context, area, y, yAxis }) {
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const tick of yAxis.ticks) context.fillText(nameOf(yAxis, tick), area.left - 6, y(tick));
    context.save();
    context.translate(11, (area.top + area.bottom) / 2);
    context.rotate(-Math.PI / 2);
    context.textAlign = "center";
    // Upwards there is less room for words.
    context.fillText(yAxis.short ?? yAxis.label, 0, 0);
    context.restore();
  }

  function nameOf(axis, tick) {
    return axis.name ? axis.name(tick) : `${tick}`;
  }

  /** Draw ticks and labels around the area, and lines across it where wanted. */
  function close(frame, { across = true } = {}) {
    const { context, area, y, yAxis } = frame;
    context.save();
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = frame.colours.muted;
    ticksBelow(frame);
    ticksAside(frame);
    context.strokeStyle = frame.colours.line;
    context.lineWidth = 1;
    context.globalCompositeOperation = "destination-over";
    for (const tick of across ? yAxis.ticks : []) stroke(context, [[area.left, y(tick)], [area.right, y(tick)]]);
    context.restore();
  }

  function stroke(context, points) {
    context.beginPath();
    points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.stroke();
  }

  /** Draw inside the area only. */
  function inside({ context, area }, draw) {
    context.save();
    context.beginPath();
    context.rect(area.left, area.top, area.right - area.left, area.bottom - area.top);
    context.clip();
    draw(context);
    context.restore();
  }

  unmelt.frames = { open, close, inside, stroke, colours };
})(window.unmelt);

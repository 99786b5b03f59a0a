// The player of frames: a slider, a button that plays, keys, and views of the same frames. Those of a section move
// together, by their share of the way, for they need not have as many frames.
"use strict";

(function (unmelt) {
  const { element, choice } = unmelt.parts;
  const { open } = unmelt.sheets;
  const { tiles } = unmelt.walls;
  const FRAMES_A_SECOND = 12;
  let lastUsed = null;

  /** What shows a frame: canvases, and the sheet of the view that was chosen. */
  function screen(figure) {
    const sheets = figure.views.map((view) => open(view.sheet));
    const { canvases, holder } = tiles(sheets[0], figure.tiles);
    let [view, frame] = [0, 0];

    function draw() {
      const sheet = sheets[view];
      sheet.decoded.then(() => canvases.forEach((tile, i) => sheet.draw(tile, frame * canvases.length + i)));
    }

    const views = choice("What is shown", figure.views.map(({ name }) => name), (index) => {
      view = index;
      draw();
    });
    draw();
    return { holder, views, show: (number) => { frame = number; draw(); } };
  }

  function controls(figure, label) {
    const last = figure.frames.length - 1;
    const slider = element("input", { type: "range", min: "0", max: `${last}`, step: "1", value: "0", "aria-label": label });
    const button = element("button", { type: "button", class: "play" }, element("span", { "aria-hidden": "true" }));
    const says = element("output", { "aria-live": "off" });
    return { last, slider, button, says, bar: element("div", { class: "bar" }, button, slider, says) };
  }

  /** Lets a player run to its end, and from its beginning where it is there. */
  function clock(player) {
    let since = null;

    function tick(now) {
      if (since === null) return;
      if (now - since >= 1000 / FRAMES_A_SECOND) {
        since = now;
        player.to(player.frame() + 1);
      }
      if (player.frame() === player.last) stop();
      else requestAnimationFrame(tick);
    }

    function stop() {
      since = null;
      player.playing(false);
    }

    function toggle() {
      if (since !== null) return stop();
      if (player.frame() === player.last) player.to(0);
      since = performance.now();
      player.playing(true);
      requestAnimationFrame(tick);
    }

    return { toggle, stop };
  }

  /** A player; `group` is the list of those that move with it. */
  function player(figure, label, group) {
    const { holder, views, show } = screen(figure);
    const { last, slider, button, says, bar } = controls(figure, label);

    function showFrame(number) {
      slider.value = `${number}`;
      slider.setAttribute("aria-valuetext", figure.frames[number]);
      says.textContent = figure.frames[number];
      show(number);
    }

    function to(number) {
      const frame = Math.min(last, Math.max(0, number));
      showFrame(frame);
      group.filter((other) => other !== self).forEach((other) => other.follow(last ? frame / last : 0));
    }

    function playing(on) {
      button.firstElementChild.textContent = on ? "❚❚" : "▶";
      button.setAttribute("aria-label", on ? "Pause" : "Play");
    }

    const self = { last, to, playing, frame: () => Number(slider.value), follow: (share) => { self.stop(); showFrame(Math.round(share * last)); } };
    Object.assign(self, clock(self));
    group.push(self);
    slider.addEventListener("input", () => { self.stop(); to(Number(slider.value)); });
    button.addEventListener("click", self.toggle);
    const whole = element("figure", { class: "player" }, views, holder, bar, element("figcaption", {}, figure.says));
    for (const event of ["pointerdown", "focusin"]) whole.addEventListener(event, () => { lastUsed = self; });
    playing(false);
    showFrame(0);
    return whole;
  }

  // What takes such keys itself keeps them; a slider has no use for space.
  const BUSY = "button, a, summary, select, textarea, input:not([type=range]), [tabindex='0']";

  function pressed(event) {
    const target = event.target;
    if (!lastUsed || event.ctrlKey || event.metaKey || event.altKey || target.closest(BUSY)) return;
    const onSlider = target.matches("input[type=range]");
    const actions = { " ": lastUsed.toggle };
    if (!onSlider) {
      actions.ArrowLeft = () => lastUsed.to(lastUsed.frame() - 1);
      actions.ArrowRight = () => lastUsed.to(lastUsed.frame() + 1);
    }
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  }

  document.addEventListener("keydown", pressed);
  unmelt.player = player;
})(window.unmelt);

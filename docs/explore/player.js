// The player: lets time run by itself, from where it is to its end, and from the beginning once it is there.
"use strict";

(function (unmelt) {
  // A run from data to noise takes this many seconds.
  const DURATION = 8;

  /** Make a button play; `time.get()` and `time.set(t)` are the time that runs. */
  function player(button, time) {
    let last = null;

    function show() {
      button.firstElementChild.textContent = last === null ? "▶" : "❚❚";
      button.setAttribute("aria-label", last === null ? "Play" : "Pause");
    }

    function stop() {
      last = null;
      show();
    }

    function frame(now) {
      if (last === null) return;
      const t = Math.min(1, time.get() + (now - last) / (1000 * DURATION));
      last = now;
      time.set(t);
      if (t === 1) stop();
      else requestAnimationFrame(frame);
    }

    function toggle() {
      if (last !== null) return stop();
      if (time.get() === 1) time.set(0);
      last = performance.now();
      show();
      requestAnimationFrame(frame);
    }

    button.addEventListener("click", toggle);
    return { toggle, stop };
  }

  unmelt.player = player;
})(window.unmelt);

// The page: what the visitor has chosen, and what is drawn anew when a choice changes.
"use strict";

(function (unmelt) {
  const { families, defaults } = unmelt.processes;
  const { words, pictures, settings } = unmelt;
  const at = (id) => document.getElementById(id);

  const chosen = {
    family: "isotropic",
    // Each family keeps its own settings.
    settings: Object.fromEntries(Object.keys(families).map((family) => [family, defaults(family)])),
    t: 0.4,
    noise: unmelt.scene.noiseOf(0),
    picture: null,
  };
  let [scene, map, seen, before] = [null, null, null, null];

  // ---- drawing, at most once a frame of the screen ----

  const stale = new Set();

  /** Ask for parts to be drawn: "scene" is all of it, "map" the map's colours, "time" what follows t, "step" a step. */
  function redraw(...parts) {
    if (!stale.size) requestAnimationFrame(drawStale);
    parts.forEach((part) => stale.add(part));
  }

  function drawStale() {
    const parts = new Set(stale);
    stale.clear();
    if (!chosen.picture) return;
    if (parts.has("scene")) prepare();
    if (parts.has("scene") || parts.has("map")) map = unmelt.logSnrMap.prepare(scene, at("unit").value === "picture");
    if (["scene", "map", "time"].some((part) => parts.has(part))) drawTime();
    drawStep();
  }

  function prepare() {
    scene = unmelt.scene.make(chosen.family, chosen.settings[chosen.family], chosen.picture, chosen.noise);
    before = unmelt.orders.groupMeans(unmelt.orders.frequency, unmelt.scene.power(scene.waves));
    pictures.paint(at("original"), chosen.picture);
  }

  function drawTime() {
    const { t } = chosen;
    seen = unmelt.scene.look(scene, t);
    pictures.paint(at("latent"), pictures.bytes(seen.pixels, scene.process.range));
    unmelt.spectrumPlot.draw(at("spectrum"), seen, before);
    unmelt.logSnrMap.draw(at("map"), map, t);
    say();
  }

  function drawStep() {
    const s = Math.max(0, chosen.t - Number(at("step").value));
    const coupling = { name: at("coupling").value, eta: Number(at("eta").value) };
    const lines = unmelt.posteriorPlot.lines(scene.process, s, chosen.t, coupling);
    unmelt.posteriorPlot.draw(at("posterior"), scene.process.order, lines);
    const sentence = words.posterior(s, chosen.t, lines);
    at("stepped").textContent = sentence;
    at("posterior").setAttribute("aria-label", `Coefficients of the posterior. ${sentence}`);
  }

  function say() {
    const t = `t = ${chosen.t.toFixed(3)}`;
    const drowned = `At ${t}, ${words.drowned(seen, unmelt.orders.frequency.bands)}.`;
    at("drowned").textContent = drowned;
    at("spectrum").setAttribute("aria-label", `Radial power spectrum. ${drowned}`);
    const mapped = words.map(map);
    at("mapped").textContent = mapped;
    at("map").setAttribute("aria-label", `Map of the log-SNR over time. ${mapped}`);
    at("latent").setAttribute("aria-label", `The picture under ${families[chosen.family].title.toLowerCase()} at ${t}`);
    at("time").setAttribute("aria-valuetext", t);
    at("time-value").value = t;
    announce(drowned);
  }

  let waiting;

  /** Say aloud where time has come to rest: every value on the way would be too many. */
  function announce(sentence) {
    clearTimeout(waiting);
    waiting = setTimeout(() => (at("live").textContent = sentence), 600);
  }

  // ---- choices ----

  function chooseFamily(family) {
    chosen.family = family;
    at("family").value = family;
    at("about").textContent = families[family].about;
    at("white").setAttribute("aria-pressed", family === "isotropic");
    at("equal").setAttribute("aria-pressed", family === "equalSnr");
    settings.show(at("settings"), families[family].settings, chosen.settings[family], (name, value) => {
      chosen.settings[family][name] = value;
      redraw("scene");
    });
    redraw("scene");
  }

  /** Another colour of the noise, all else the same: time stays, and so does the schedule. */
  function chooseNoise(family) {
    const { schedule } = chosen.settings[chosen.family];
    if (schedule) chosen.settings[family].schedule = schedule;
    chooseFamily(family);
  }

  function setTime(t) {
    chosen.t = t;
    at("time").value = t;
    redraw("time");
  }

  async function choosePicture(file) {
    const url = URL.createObjectURL(file);
    try {
      chosen.picture = await pictures.load(url);
      at("trouble").textContent = "";
      redraw("scene");
    } catch (error) {
      at("trouble").textContent = `${file.name}: ${error.message}`;
    } finally {
      URL.revokeObjectURL(url);
    }
  }

  function chooseTheme(theme) {
    document.documentElement.dataset.theme = theme;
    at("theme").setAttribute("aria-pressed", theme === "dark");
    redraw("map");
  }

  function showStep() {
    at("step-value").value = Number(at("step").value).toFixed(3);
    at("eta-value").value = Number(at("eta").value).toFixed(2);
    at("eta-field").hidden = at("coupling").value !== "eta";
    redraw("step");
  }

  // ---- events ----

  function listenToPictures() {
    const box = at("drop");
    at("file").addEventListener("change", (event) => {
      const [file] = event.target.files;
      if (file) choosePicture(file);
    });
    const over = (event) => {
      event.preventDefault();
      box.classList.add("over");
    };
    // Anywhere on the page: a browser would leave the page for a file that is dropped beside the box.
    window.addEventListener("dragover", over);
    window.addEventListener("dragleave", () => box.classList.remove("over"));
    window.addEventListener("drop", (event) => {
      event.preventDefault();
      box.classList.remove("over");
      const [file] = event.dataTransfer.files;
      if (file) choosePicture(file);
    });
  }

  function listenToTime() {
    const play = unmelt.player(at("play"), { get: () => chosen.t, set: setTime });
    at("time").addEventListener("input", () => {
      play.stop();
      setTime(Number(at("time").value));
    });
    document.addEventListener("keydown", (event) => {
      // Space has its own meaning in buttons, lists and fields to write in.
      const free = event.target.type === "range" || event.target === document.body;
      if (event.key !== " " || !free) return;
      event.preventDefault();
      if (!event.repeat) play.toggle();
    });
  }

  function listen() {
    at("family").addEventListener("change", () => chooseFamily(at("family").value));
    at("white").addEventListener("click", () => chooseNoise("isotropic"));
    at("equal").addEventListener("click", () => chooseNoise("equalSnr"));
    at("unit").addEventListener("change", () => redraw("map"));
    for (const id of ["coupling", "step", "eta"]) at(id).addEventListener("input", showStep);
    at("seed").addEventListener("input", () => {
      chosen.noise = unmelt.scene.noiseOf(Math.floor(Number(at("seed").value)) || 0);
      redraw("scene");
    });
    at("theme").addEventListener("click", () => {
      chooseTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    });
    const preferred = matchMedia("(prefers-color-scheme: dark)");
    preferred.addEventListener("change", () => chooseTheme(preferred.matches ? "dark" : "light"));
    chooseTheme(preferred.matches ? "dark" : "light");
    const resized = new ResizeObserver(() => redraw("time"));
    document.querySelectorAll(".plot").forEach((plot) => resized.observe(plot));
    listenToPictures();
    listenToTime();
  }

  async function start() {
    settings.fill(at("family"), families);
    settings.fill(at("coupling"), unmelt.posteriors.couplings);
    listen();
    showStep();
    chosen.picture = await pictures.load(unmelt.photograph);
    chooseFamily(chosen.family);
  }

  // What tests ask for.
  unmelt.page = { chosen, scene: () => scene, ready: start() };
})(window.unmelt);

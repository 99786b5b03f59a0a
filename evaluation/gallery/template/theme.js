// Dark or light: as the system has it, until the button says otherwise.
"use strict";

(function () {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  let chosen = null;

  function show() {
    const dark = chosen ?? system.matches;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    button.setAttribute("aria-pressed", `${dark}`);
  }

  button.addEventListener("click", () => {
    const dark = !(chosen ?? system.matches);
    chosen = dark === system.matches ? null : dark;
    show();
  });
  system.addEventListener("change", show);
  show();
})();

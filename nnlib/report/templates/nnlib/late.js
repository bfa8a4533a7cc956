/* Two switches, remembered; without scripts the page loses nothing else. */
(function () {
  const root = document.documentElement, wide = matchMedia("(min-width: 68rem)");
  const recall = key => { try { return localStorage.getItem(key); } catch (e) { return null; } };
  const store = (key, value) => { try { localStorage.setItem(key, value); } catch (e) {} };

  const theme = document.getElementById("theme-switch"), system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
  const showTheme = () => theme.setAttribute("aria-pressed", dark());
  theme.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark"; store("nnlib-theme", root.dataset.theme); showTheme();
  });
  system.addEventListener("change", showTheme);
  theme.hidden = false; showTheme();

  const folds = document.querySelectorAll("details.code:not(.read)"), code = document.getElementById("code-switch");
  const showCode = open => { folds.forEach(fold => { fold.open = open; }); code.setAttribute("aria-pressed", open); };
  code.addEventListener("click", () => {
    const open = code.getAttribute("aria-pressed") !== "true"; showCode(open); store("nnlib-code", open);
  });
  if (folds.length) { code.hidden = false; showCode(recall("nnlib-code") === "true"); }

  const contents = document.getElementById("contents");
  if (contents) {
    const fit = () => { contents.open = wide.matches; contents.firstElementChild.tabIndex = wide.matches ? -1 : 0; };
    wide.addEventListener("change", fit); fit();
  }

  /* What does not overflow needs no stop of the Tab key; what goes on at the right fades there. */
  const boxes = document.querySelectorAll(".scroll");
  const fade = box => box.classList.toggle("more", box.scrollLeft + box.clientWidth < box.scrollWidth - 8);
  const mark = box => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0; else box.removeAttribute("tabindex");
    fade(box);
  };
  boxes.forEach(box => box.addEventListener("scroll", () => fade(box), { passive: true }));
  if (window.ResizeObserver) { const watch = new ResizeObserver(seen => seen.forEach(entry => mark(entry.target)));
    boxes.forEach(box => watch.observe(box)); }
})();

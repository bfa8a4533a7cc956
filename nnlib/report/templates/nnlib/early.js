/* Before the first paint: the theme that the reader chose the last time. */
try { const chosen = localStorage.getItem("nnlib-theme");
  if (chosen) document.documentElement.dataset.theme = chosen; } catch (e) {}

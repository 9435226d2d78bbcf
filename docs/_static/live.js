// Live views stand in frames that may run their script and nothing else: their pages tell how tall they are, and are
// told which theme the reader chose.
const frames = () => [...document.querySelectorAll("iframe.live")];

const tellTheme = () => {
  const chosen = document.body.dataset.theme;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const theme = chosen === "light" || chosen === "dark" ? chosen : dark ? "dark" : "light";
  for (const frame of frames()) frame.contentWindow?.postMessage({ attnwidgetTheme: theme }, "*");
};

addEventListener("message", ({ source, data }) => {
  const frame = frames().find(({ contentWindow }) => contentWindow === source);
  const height = data?.attnwidgetHeight;
  if (!frame || !Number.isFinite(height)) return;
  frame.style.height = `${Math.min(Math.ceil(height), 2400)}px`;
  tellTheme();
});

document.addEventListener("DOMContentLoaded", () => {
  new MutationObserver(tellTheme).observe(document.body, { attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", tellTheme);
});

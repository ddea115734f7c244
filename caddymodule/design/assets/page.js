// Adds what pages do without: copy buttons, "/" for the search, the tool that was chosen last, and what
// changes by itself.
"use strict";

for (const line of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) break; // only over HTTPS and on loopback
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  const what = line.dataset.copy;
  if (what) button.setAttribute("aria-label", "Copy " + what);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(line.querySelector("code, pre").textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not copied";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  });
  line.append(button);
}

document.addEventListener("keydown", (event) => {
  const search = document.querySelector("header input[type=search]");
  const typing = event.target.closest("input, select, textarea");
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || typing || !search) return;
  event.preventDefault();
  search.focus();
});

const tools = document.querySelectorAll("input[name=tool]");
let last = null;
try { last = localStorage.getItem("tool"); } catch { /* the browser keeps nothing */ }
for (const tool of tools) {
  if (tool.value === last) tool.checked = true;
  tool.addEventListener("change", () => {
    try { localStorage.setItem("tool", tool.value); } catch { /* the choice is for this page */ }
  });
}

const live = document.querySelector("[data-refresh]");
const timer = live && setInterval(async () => {
  if (document.visibilityState !== "visible") return;
  try {
    const answer = await fetch(location.href);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(live.id);
    if (!fresh?.hasAttribute("data-refresh")) clearInterval(timer);
    if (fresh) live.replaceChildren(...fresh.childNodes);
  } catch { /* the next time may work */ }
}, 5000);

// What the first run's pages do: hand the secret of the address over, and look how far something is.
"use strict";
(() => {
  const opening = document.querySelector("[data-open]");
  const secret = location.hash.slice(1);
  if (opening && secret) {
    opening.elements.secret.value = secret;
    history.replaceState(null, "", "/");
    opening.submit();
  }
  const progress = document.querySelector("[data-progress]");
  async function look() {
    const answer = await fetch("/progress").catch(() => null);
    const told = answer?.ok ? await answer.json() : { busy: true, told: [] };
    for (const text of told.told.slice(progress.dataset.seen ?? progress.children.length)) {
      progress.append(Object.assign(document.createElement("li"), { textContent: text }));
    }
    progress.dataset.seen = Math.max(told.told.length, progress.dataset.seen ?? 0);
    if (told.busy) setTimeout(look, 700);
    else location.replace("/");
  }
  if (progress) look();
})();

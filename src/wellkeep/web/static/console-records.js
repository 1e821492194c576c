// Showing a value: one field of one record, asked of the API for a purpose, shown as text for a minute and then masked.
"use strict";
(() => {
  const { send, words, code, say, complain } = globalThis.wellkeep;
  const SHOWN = 60_000;
  const table = document.querySelector("[data-record]");
  const masks = new Map();

  function mask(name) {
    const cell = document.getElementById(`v-${name}`);
    clearTimeout(masks.get(name));
    masks.delete(name);
    cell.textContent = "masked";
    cell.className = "masked";
    const button = document.querySelector(`[data-reveal="${name}"]`);
    button.textContent = "Show";
    button.setAttribute("aria-label", `Show ${name}`);
  }

  async function reveal(button) {
    const name = button.dataset.reveal;
    if (masks.has(name)) return mask(name);
    const refused = document.getElementById("refused");
    refused.hidden = true;
    const asked = new URLSearchParams({ fields: name });
    if (table.dataset.revision) asked.set("revision", table.dataset.revision);
    const purpose = document.getElementById("purpose").value;
    button.disabled = true;
    const answer = await send("GET", `${table.dataset.record}?${asked}`, undefined, purpose ? { "X-Purpose-Of-Use": purpose } : {});
    button.disabled = false;
    if (!answer.ok) {
      if (code(answer) === "unauthenticated") return location.reload();
      refused.hidden = false;
      refused.textContent = code(answer) === "purpose-required" ? "Say for what you look: choose a purpose." : words(answer);
      return;
    }
    const cell = document.getElementById(`v-${name}`);
    const value = answer.told.fields[name];
    const withheld = answer.told.withheld.includes(name);
    cell.className = "";
    cell.textContent = withheld ? "not for your role" : value === undefined ? "empty" : typeof value === "string" ? value : JSON.stringify(value);
    button.textContent = "Mask";
    button.setAttribute("aria-label", `Mask ${name}`);
    masks.set(name, setTimeout(mask, SHOWN, name));
    say(`${name} is shown`);
    cell.focus();
  }

  for (const button of document.querySelectorAll("[data-reveal]")) {
    button.disabled = false;
    button.addEventListener("click", () => reveal(button));
  }
  addEventListener("pagehide", () => [...masks.keys()].forEach(mask));

  // What can't be undone wants its name typed.
  for (const form of document.querySelectorAll("[data-typed]")) {
    form.addEventListener("submit", (event) => {
      if (form.elements.typed.value.trim() === form.dataset.typed) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      complain(form, "This is not the patient's id.");
    });
  }
})();

// An import: which column becomes which field, the file sent in parts, then begun. Nothing of the file but its parts leaves.
"use strict";
(() => {
  const { send, words, complain, say } = globalThis.wellkeep;
  const PART = 4 * 1024 * 1024;
  const LOOK = 64 * 1024;
  const ROWS = 2;
  const OTHERS = { "@external_id": "its id elsewhere", "@patient": "its patient's id elsewhere", "@subject": "its patient's id here", "@ignore": "leave it out" };
  const BY_NAME = { id: "@external_id", external_id: "@external_id", patient: "@patient", subject: "@subject" };
  const form = document.getElementById("import");
  if (!form) return;
  const { collection, format, file } = form.elements;
  const button = form.querySelector("button");
  const mapping = document.getElementById("mapping");

  // The first records of CSV (RFC 4180), as far as they go.
  function records(text, most) {
    const rows = [[""]];
    let quoted = false;
    for (let at = 0; at < text.length; at++) {
      const row = rows.at(-1);
      const sign = text[at];
      if (quoted) {
        if (sign !== '"') row[row.length - 1] += sign;
        else if (text[at + 1] === '"') row[row.length - 1] += text[++at];
        else quoted = false;
      } else if (sign === '"') quoted = true;
      else if (sign === ",") row.push("");
      else if (sign === "\n") {
        if (rows.length === most) return rows;
        rows.push([""]);
      } else if (sign !== "\r") row[row.length - 1] += sign;
    }
    return rows;
  }

  function line(column, first, fields) {
    const own = column.trim().toLowerCase().replaceAll(/[^a-z0-9]+/g, "_");
    const choice = document.createElement("select");
    choice.dataset.column = column;
    choice.setAttribute("aria-label", `${column} becomes`);
    for (const name of fields) choice.append(new Option(name, name));
    for (const [value, text] of Object.entries(OTHERS)) choice.append(new Option(text, value));
    choice.value = fields.includes(own) ? own : (BY_NAME[own] ?? "@ignore");
    const row = document.createElement("tr");
    const head = Object.assign(document.createElement("th"), { scope: "row", textContent: column });
    const value = Object.assign(document.createElement("td"), { textContent: first });
    value.dataset.title = "The first value";
    const cell = document.createElement("td");
    cell.dataset.title = "Becomes";
    cell.append(choice);
    row.append(head, value, cell);
    return row;
  }

  async function preview() {
    complain(form, "");
    mapping.hidden = true;
    const chosen = file.files[0];
    button.disabled = !chosen;
    if (!chosen || format.value !== "csv") return;
    button.disabled = true;
    const [head, first = []] = records((await chosen.slice(0, LOOK).text()).replace(/^\uFEFF/, ""), ROWS);
    const answer = await send("GET", `/v1/collections/${encodeURIComponent(collection.value)}`);
    if (!answer.ok) return complain(form, words(answer));
    const fields = answer.told.fields.map(({ name }) => name);
    mapping.querySelector("tbody").replaceChildren(...head.map((column, place) => line(column, first[place] ?? "", fields)));
    mapping.hidden = false;
    button.disabled = false;
  }

  async function asked(method, path, body) {
    const answer = await send(method, path, body);
    if (!answer.ok) throw new Error(words(answer));
    return answer.told;
  }

  async function transfer() {
    const chosen = file.files[0];
    const wanted = { collection: collection.value, format: format.value };
    if (format.value === "csv") {
      wanted.map = Object.fromEntries([...mapping.querySelectorAll("select")].map((one) => [one.dataset.column, one.value]));
    }
    const { id } = await asked("POST", "/v1/imports", wanted);
    const sent = document.getElementById("sent");
    sent.hidden = false;
    sent.max = Math.max(1, Math.ceil(chosen.size / PART));
    for (let number = 0; number * PART < chosen.size; number++) {
      await asked("PUT", `/v1/imports/${id}/parts/${number}`, chosen.slice(number * PART, (number + 1) * PART));
      sent.value = number + 1;
    }
    await asked("POST", `/v1/imports/${id}/start`);
    say("Sent");
    location.assign(`/console/imports/${id}`);
  }

  for (const one of [collection, format, file]) one.addEventListener("change", preview);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    complain(form, "");
    button.disabled = true;
    try {
      await transfer();
    } catch (error) {
      complain(form, error.message);
      button.disabled = false;
    }
  });
})();

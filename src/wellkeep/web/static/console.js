// What the console's pages do: each act is a request to the API itself, with the token of the session; its refusal is
// shown in words where it was asked for. No text becomes markup here, so nothing that somebody stored can run.
"use strict";
(() => {
  const meta = document.querySelector('meta[name="csrf"]');
  const said = document.getElementById("said");
  const dialog = document.getElementById("step-up");
  const passkeys = Boolean(window.PublicKeyCredential?.parseRequestOptionsFromJSON);
  const SAID = 4000;
  const WATCHED = 12 * 3600;
  const PAGE = /^\/(console|trust)\/[A-Za-z0-9/._?=&-]*$|^\/console$/;
  const BACK = /^\/console(\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/;

  async function send(method, path, body, more = {}) {
    const headers = { Accept: "application/json", ...more };
    if (meta) headers["X-CSRF-Token"] = meta.content;
    const raw = body instanceof Blob;
    if (body !== undefined) headers["Content-Type"] = raw ? "application/octet-stream" : "application/json";
    let answer;
    try {
      answer = await fetch(path, { method, headers, body: body === undefined || raw ? body : JSON.stringify(body) });
    } catch {
      return { ok: false, told: { detail: "The server did not answer. Is the connection there? Then try again." } };
    }
    const told = await answer.json().catch(() => ({}));
    if (answer.ok && told.csrf_token && meta) meta.content = told.csrf_token;
    return { ok: answer.ok, status: answer.status, told, wait: answer.headers.get("Retry-After") };
  }

  const code = (answer) => (answer.told.type ?? "").replace("/problems/", "");

  function words(answer) {
    const { title, detail, errors, request_id } = answer.told;
    const parts = [detail ?? title ?? "This did not work."];
    for (const one of errors ?? []) parts.push(`${one.path.replace(/^\//, "") || "It"}: ${one.code.replaceAll("-", " ")}.`);
    if (answer.wait) parts.push(`Try again in ${answer.wait} s.`);
    if (answer.status >= 500 && request_id) parts.push(`Request ${request_id}.`);
    return parts.join(" ");
  }

  function complain(form, text) {
    const alert = form.querySelector(".alert");
    if (!alert) return;
    alert.hidden = !text;
    alert.textContent = text;
  }

  let spoken;
  function say(text) {
    clearTimeout(spoken);
    said.textContent = text;
    spoken = setTimeout(() => (said.textContent = ""), SAID);
  }

  function fields(form, by) {
    const body = Object.fromEntries([...new FormData(form, by?.name ? by : undefined)].filter(([, value]) => value !== ""));
    for (const one of form.querySelectorAll("[data-flag]")) body[one.name] = one.checked;
    for (const one of form.querySelectorAll("[data-number]")) if (one.value) body[one.name] = Number(one.value);
    for (const one of form.querySelectorAll("[data-utc]")) if (one.value) body[one.name] = `${one.value}:00Z`;
    for (const one of form.querySelectorAll("[data-lines]")) body[one.name] = one.value.split(/\s+/).filter(Boolean);
    for (const one of form.querySelectorAll("[data-list]")) body[one.name] = new FormData(form).getAll(one.name);
    if ("token" in form.dataset) body.token = token;
    return Object.keys(body).length ? body : undefined;
  }

  function fill(place, told) {
    for (const slot of place.querySelectorAll("[data-slot]")) slot.textContent = told[slot.dataset.slot] ?? slot.dataset.else ?? "";
    for (const slot of place.querySelectorAll("[data-slot-value]")) slot.value = told[slot.dataset.slotValue];
    for (const slot of place.querySelectorAll("[data-slot-max]")) slot.max = told[slot.dataset.slotMax] ?? 1;
    for (const slot of place.querySelectorAll("[data-slot-href]")) {
      const address = String(told[slot.dataset.slotHref]);
      if (address.startsWith("otpauth://")) slot.href = address;
    }
    for (const slot of place.querySelectorAll("[data-slot-page]")) {
      slot.href = slot.dataset.before + encodeURIComponent(told[slot.dataset.slotPage]) + slot.dataset.after;
    }
    for (const form of place.querySelectorAll("[data-slot-act]")) {
      form.dataset.act = form.dataset.actOf.replace("{}", encodeURIComponent(told[form.dataset.slotAct]));
    }
    for (const slot of place.querySelectorAll("[data-slot-picture]")) {
      const src = String(told[slot.dataset.slotPicture]);
      if (src.startsWith("data:image/svg+xml;")) slot.replaceChildren(Object.assign(new Image(), { src, alt: slot.dataset.alt }));
    }
    for (const slot of place.querySelectorAll("[data-slot-list]")) {
      slot.replaceChildren(...told[slot.dataset.slotList].map((text) => Object.assign(document.createElement("li"), { textContent: text })));
    }
  }

  function show(id, told) {
    const place = document.getElementById(id);
    fill(place, told);
    place.hidden = false;
    place.focus();
  }

  function then(form, told) {
    const [word, where] = (form.dataset.then ?? "reload").split(" ");
    if (word === "show") {
      form.hidden = true;
      show(where, told);
    } else if (word === "go") {
      location.assign(where);
    } else {
      location.reload();
    }
  }

  async function act(form, by) {
    const [method, path] = form.dataset.act.split(" ");
    const buttons = [...form.querySelectorAll("button")];
    const body = method === "DELETE" ? undefined : fields(form, by);
    complain(form, "");
    for (const one of buttons) one.disabled = true;
    say("Working");
    const answer = await send(method, path, body);
    for (const one of buttons) one.disabled = false;
    say(answer.ok ? "Done" : "");
    if (answer.ok) return then(form, answer.told);
    if (code(answer) === "step-up-required" && dialog) {
      if (await stepUp()) return act(form, by);
      return complain(form, "Nothing was changed.");
    }
    if (code(answer) === "unauthenticated" && meta) return location.reload();
    complain(form, words(answer));
  }

  function stepUp() {
    const form = dialog.querySelector("form");
    form.reset();
    complain(form, "");
    dialog.showModal();
    return new Promise((resolve) => {
      dialog.addEventListener("close", () => resolve(dialog.returnValue === "shown"), { once: true });
      dialog.returnValue = "";
    });
  }

  async function proved(body, form) {
    const answer = await send("POST", "/v1/session/step-up", body);
    if (answer.ok) dialog.close("shown");
    else complain(form, words(answer));
  }

  async function asked(path, body) {
    const answer = await send("POST", path, body);
    if (!answer.ok) throw new Error(words(answer));
    return answer.told;
  }

  async function signed(path, body) {
    const { challenge, options } = await asked(path, body);
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options.publicKey ?? options);
    const credential = await navigator.credentials.get({ publicKey });
    return { challenge, credential: credential.toJSON() };
  }

  const back = (button) => (BACK.test(button.dataset.back ?? "") ? button.dataset.back : "/console");

  const BY_PASSKEY = {
    async "sign-in"(button) {
      await asked("/v1/session/passkey", await signed("/v1/session/passkey/challenge"));
      location.assign(back(button));
    },
    async factor(button, form) {
      const ticket = form.elements.ticket.value;
      await asked("/v1/session/factor", { ticket, passkey: await signed("/v1/session/factor/challenge", { ticket }) });
      location.assign(back(button));
    },
    async "step-up"(_button, form) {
      await proved({ passkey: await signed("/v1/session/step-up/challenge") }, form);
    },
    async add(_button, form) {
      const { challenge, options } = await asked("/v1/account/passkeys/challenge");
      const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options.publicKey ?? options);
      const credential = await navigator.credentials.create({ publicKey });
      await asked("/v1/account/passkeys", { challenge, credential: credential.toJSON(), name: form.elements.name.value });
      location.reload();
    },
  };

  async function byPasskey(button) {
    const form = button.closest("form");
    complain(form, "");
    button.disabled = true;
    try {
      await BY_PASSKEY[button.dataset.passkey](button, form);
    } catch (error) {
      complain(form, error instanceof DOMException ? "No passkey was shown." : error.message);
    } finally {
      button.disabled = false;
    }
  }

  function countDown() {
    for (const place of document.querySelectorAll("[data-left]")) {
      let left = Number(place.dataset.left);
      const tick = () => {
        place.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
        if (left === 300 || left === 60) say(left === 60 ? "1 minute left" : "5 minutes left");
        if (left-- <= 0) {
          clearInterval(timer);
          place.textContent = "over";
        }
      };
      const timer = setInterval(tick, 1000);
      tick();
    }
  }

  // Asks each second how far something is, and fills what stands there; when it is over, the page is made anew.
  async function watch(place) {
    const over = place.dataset.over.split(" ");
    for (let tries = 0; tries < WATCHED; tries++) {
      await new Promise((resolve) => setTimeout(resolve, document.hidden ? 5000 : 1000));
      const answer = await send("GET", place.dataset.watch);
      if (!answer.ok) {
        if (answer.status === 401) return location.reload();
        continue;
      }
      fill(place, answer.told);
      if (over.includes(answer.told.state)) return location.reload();
    }
  }

  // What is typed goes in a body: it may be a patient's name, and addresses are kept.
  async function search(form) {
    const box = document.getElementById("hits");
    const list = box.querySelector("ul");
    const answer = await send("POST", "/console/search", { text: form.querySelector("input").value.trim() });
    const hits = (answer.told.hits ?? []).filter(({ path }) => PAGE.test(path));
    if (hits.length === 1) return location.assign(hits[0].path);
    list.replaceChildren(
      ...hits.map(({ title, path }) => {
        const line = document.createElement("li");
        line.append(Object.assign(document.createElement("a"), { href: path, textContent: title }));
        return line;
      }),
    );
    box.hidden = false;
    const nothing = "Nothing of that name. Patients are looked up on purpose, under Records.";
    complain(box, answer.ok ? (hits.length ? "" : nothing) : words(answer));
    list.querySelector("a")?.focus();
  }

  globalThis.wellkeep = Object.freeze({ send, words, code, complain, say, fill, show, stepUp });

  let token = "";
  if (document.querySelector("form[data-token]")) {
    token = location.hash.slice(1);
    history.replaceState(null, "", location.pathname); // the link is a credential: it stays in no history
  }
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if ("search" in form.dataset) {
      event.preventDefault();
      if (form.querySelector("input").value.trim()) search(form);
    } else if ("stepUp" in form.dataset) {
      event.preventDefault();
      proved({ code: form.elements.code.value }, form);
    } else if ("act" in form.dataset) {
      event.preventDefault();
      if (!form.dataset.sure || confirm(form.dataset.sure)) act(form, event.submitter);
    } else if ("passkeyAdd" in form.dataset) {
      event.preventDefault();
      byPasskey(form.querySelector("[data-passkey]"));
    }
  });
  for (const button of document.querySelectorAll("[data-passkey]")) {
    button.hidden = !passkeys;
    if (button.type === "button") button.addEventListener("click", () => byPasskey(button));
  }
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, select, textarea, [contenteditable]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      document.getElementById("go")?.focus();
      event.preventDefault();
    } else if (event.key === "Escape" && document.getElementById("hits")?.hidden === false) {
      document.getElementById("hits").hidden = true;
      document.getElementById("go").focus();
    }
  });
  for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => dialog.close());
  for (const place of document.querySelectorAll("[data-watch]")) watch(place);
  countDown();
})();

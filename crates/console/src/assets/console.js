// What makes the console quicker, and nothing that it needs: without this script every link and form works as it is.
//
// Dialogs are pages: a link with data-dialog is fetched, and what the page has as its dialog is shown over this one. Pages follow
// what happens: the service says when this page would look different, and what is in #live is then put in place anew.
"use strict";
(() => {
  const dialog = document.getElementById("dialog");
  const connection = document.getElementById("connection");
  if (!dialog || !connection) return;
  const parse = (text) => new DOMParser().parseFromString(text, "text/html");
  const here = () => location.pathname + location.search;
  let opener = null;
  let dialogAt = null;
  let placing = false;

  // The page

  async function fetchPage(url, following) {
    const headers = following ? { "X-Console-Follow": "1" } : {};
    const answer = await fetch(url, { headers, credentials: "same-origin" });
    if (answer.status === 401 || new URL(answer.url).pathname === "/console/sign-in") {
      location.reload();
      throw new Error("signed out");
    }
    return { answer, page: parse(await answer.text()) };
  }

  // Puts what is new in place, and leaves alone what somebody is using: an open menu, a field with the focus.
  function show(page) {
    const fresh = page.getElementById("live");
    const old = document.getElementById("live");
    if (!fresh || !old) return false;
    const active = document.activeElement;
    // A day is typed in parts, and half of one is lost when its field is made anew: the page waits until it is left.
    if (old.contains(active) && active.type === "date") return false;
    const find = old.contains(active) ? finder(active, old) : null;
    const value = active && "value" in active ? active.value : null;
    for (const menu of old.querySelectorAll("details[open]")) {
      const summary = finder(menu.querySelector("summary") || menu, old)(fresh);
      const item = summary && summary.closest("details");
      if (item) item.open = true;
    }
    for (const box of old.querySelectorAll("input[type=checkbox]:checked")) {
      const other = [...fresh.querySelectorAll("input[type=checkbox]")].find((one) => one.value === box.value && one.name === box.name);
      if (other) other.checked = true;
    }
    // A field that is taken away while somebody types in it says that it has changed: nobody has said so.
    placing = true;
    old.replaceChildren(...fresh.childNodes);
    setTimeout(() => { placing = false; });
    document.title = page.title;
    document.body.dataset.version = page.body.dataset.version;
    if (find) {
      const item = find(old);
      if (item && item.localName === active.localName) {
        if (value !== null && item.type !== "hidden") item.value = value;
        item.focus({ preventScroll: true });
      }
    }
    return true;
  }

  // How to find again what stands for the same thing: rows come and go, so in a table a place says nothing.
  function finder(item, root) {
    for (const name of ["id", "aria-label", "href", "name"]) {
      const value = item.getAttribute(name);
      if (value) return (other) => [...other.querySelectorAll(item.localName)].find((one) => one.getAttribute(name) === value);
    }
    const place = item.closest("tbody") ? null : path(item, root);
    return (other) => place && follow(place, other);
  }

  function path(item, root) {
    const places = [];
    for (let at = item; at !== root; at = at.parentElement) places.unshift([...at.parentElement.children].indexOf(at));
    return places;
  }

  function follow(places, root) {
    let at = root;
    for (const place of places) {
      at = at && at.children[place];
    }
    return at;
  }

  async function refresh(following) {
    const at = here();
    try {
      const { page } = await fetchPage(at, following);
      // Somebody has gone on meanwhile: to another filter, for example.
      if (at !== here() || !show(page)) return;
      connection.hidden = true;
    } catch (error) {
      connection.hidden = error.message === "signed out";
    }
  }

  // Following

  let stream = null;
  let timer = null;
  let lost = null;

  function listen() {
    if (stream || document.hidden || !document.getElementById("live")) return;
    const seen = document.body.dataset.version;
    const query = new URLSearchParams({ at: here(), seen, region: document.body.dataset.region });
    stream = new EventSource("/console/live?" + query);
    stream.addEventListener("changed", async () => {
      await refresh(true);
    });
    stream.addEventListener("open", () => {
      clearTimeout(lost);
      lost = null;
      if (!connection.hidden) refresh(true);
      connection.hidden = true;
    });
    stream.addEventListener("error", () => {
      // A stream ends now and then, and begins again at once: that is no loss.
      lost = lost || setTimeout(() => { connection.hidden = false; }, 4000);
      // The service ended it for good: signed out, which the page says at once, or too many follow. Look now and then instead.
      if (stream && stream.readyState === EventSource.CLOSED) {
        stop();
        refresh(true);
        timer = setTimeout(listen, 5000);
      }
    });
  }

  function stop() {
    if (stream) stream.close();
    stream = null;
    clearTimeout(timer);
    clearTimeout(lost);
    lost = null;
  }

  // A browser has few connections for one host: a page that nobody sees follows nothing.
  document.addEventListener("visibilitychange", () => {
    stop();
    if (!document.hidden) { refresh(true); listen(); }
  });
  window.addEventListener("pagehide", stop);

  // Dialogs

  async function openDialog(url) {
    const { page } = await fetchPage(url, false);
    const fresh = page.querySelector("[data-dialog-page]");
    if (!fresh) { location.href = url; return; }
    dialogAt = url;
    dialog.replaceChildren(...fresh.childNodes);
    ready(dialog);
    if (!dialog.open) dialog.showModal();
    const first = dialog.querySelector("[aria-invalid], form input:not([type=hidden]):not([readonly]), form select, form button");
    if (first) first.focus();
  }

  // What is in the way of a dialog changes: its button comes by itself. What was typed stays.
  async function refreshDialog() {
    if (!dialog.open || !dialogAt || !dialog.querySelector("[data-live-part]")) return;
    const at = dialogAt;
    const { page } = await fetchPage(at, true);
    const fresh = page.querySelector("[data-dialog-page]");
    // Another dialog is there by now, or this one is being sent.
    if (!fresh || at !== dialogAt || dialog.querySelector("footer button:disabled")) return;
    // What is the same stays, with the focus that is in it.
    const place = (old, other) => {
      if (old && other && old.innerHTML !== other.innerHTML) old.replaceChildren(...other.childNodes);
    };
    for (const part of dialog.querySelectorAll("[data-live-part]")) place(part, fresh.querySelector("#" + part.id));
    place(dialog.querySelector("footer"), fresh.querySelector("footer"));
  }

  // What a dialog waits for may be on no page that is followed.
  setInterval(() => { refreshDialog().catch(() => {}); }, 2000);

  function alarm(text) {
    const told = document.createElement("p");
    told.className = "notice bad";
    told.setAttribute("role", "alert");
    told.textContent = text;
    dialog.querySelectorAll(":scope > [role=alert]").forEach((old) => old.remove());
    dialog.prepend(told);
  }

  // `pressed`: the button that sent it, which may lead elsewhere and say so in a value of its own.
  async function submit(form, pressed) {
    const buttons = form.querySelectorAll("footer button[type=submit]");
    const body = new URLSearchParams(new FormData(form));
    if (pressed && pressed.name) body.append(pressed.name, pressed.value);
    buttons.forEach((button) => { button.disabled = true; });
    try {
      const answer = await fetch(pressed && pressed.hasAttribute("formaction") ? pressed.formAction : form.action, {
        method: "POST",
        body,
        credentials: "same-origin",
        headers: { "Content-Type": "application/x-www-form-urlencoded" },
      });
      const page = parse(await answer.text());
      const again = page.querySelector("[data-dialog-page]");
      if (again) {
        // Refused, or one dialog has led to another, or to its next step.
        if (answer.redirected) dialogAt = answer.url;
        dialog.replaceChildren(...again.childNodes);
        ready(dialog);
        const told = dialog.querySelector("[role=alert]") || dialog.querySelector("h1");
        if (told) { told.tabIndex = -1; told.focus(); }
        dialog.scrollTop = 0;
        return;
      }
      if (answer.redirected) {
        const target = new URL(answer.url);
        const same = target.pathname === location.pathname;
        dialog.close();
        const notices = [...page.querySelectorAll("main > .notice")];
        if (same && show(page)) {
          history.replaceState(null, "", target);
          document.querySelectorAll("main > .notice").forEach((old) => old.remove());
          document.getElementById("live").before(...notices);
          stop();
          listen();
        } else {
          // They were told to this answer; they are told again there.
          if (notices.length) sessionStorage.setItem("notice", notices.map((notice) => notice.outerHTML).join(""));
          location.href = target;
        }
        return;
      }
      // A page of its own, like a new key's secret: it is shown where it is, and kept nowhere.
      const main = page.getElementById("main");
      if (!main) { alarm(page.body.textContent); } else { dialog.close(); document.getElementById("main").replaceChildren(...main.childNodes); stop(); }
    } catch {
      // What was typed stays. Sent once more, it is not done twice: the form has a token.
      alarm("The service did not answer. It may have done this all the same: try again when it is back.");
    } finally {
      buttons.forEach((button) => { button.disabled = false; });
    }
  }

  dialog.addEventListener("close", () => {
    dialog.replaceChildren();
    dialogAt = null;
    // Where the dialog was opened from may have been made anew meanwhile.
    (opener && opener.isConnected ? opener : document.getElementById("main")).focus();
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

  // Links, forms, fields

  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const menus = document.querySelectorAll("details.more[open]");
    for (const menu of menus) if (!menu.contains(event.target)) menu.open = false;
    const item = event.target.closest("a, button");
    if (!item) return;
    if (item.matches("a[data-dialog]")) {
      event.preventDefault();
      if (!dialog.contains(item)) opener = item.closest("details.more")?.querySelector("summary") || item;
      openDialog(item.href).catch(() => { location.href = item.href; });
    } else if (item.matches("a[data-close]") && dialog.contains(item)) {
      event.preventDefault();
      dialog.close();
    } else if (item.matches("a[data-refresh]")) {
      event.preventDefault();
      refresh(false);
    } else if (item.matches("[data-add-tag]")) {
      addTag(item);
    } else if (item.matches("[data-copy]")) {
      const line = item.parentElement.querySelector("[data-command-line]");
      const choose = () => { getSelection().selectAllChildren(line); };
      // Over plain HTTP from another machine there is no clipboard for scripts: chosen, it is one key away.
      if (!navigator.clipboard) choose();
      else navigator.clipboard.writeText(line.textContent).then(() => { item.textContent = "Copied"; }, choose);
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const menu = document.querySelector("details.more[open]");
    if (menu && !dialog.open) { menu.open = false; menu.querySelector("summary").focus(); }
  });

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (dialog.contains(form) && form.method === "post") {
      event.preventDefault();
      submit(form, event.submitter);
    } else if (form.matches("[data-filters]")) {
      event.preventDefault();
      // A page is not made anew around a day that is being typed (show).
      if (document.activeElement.type === "date") document.activeElement.blur();
      filter(form);
    }
  });

  document.addEventListener("change", (event) => {
    const item = event.target;
    if (placing) return;
    if (item.matches("select[data-submit]")) item.form.requestSubmit();
    else if (item.type !== "date" && item.form && item.form.matches("[data-filters]")) filter(item.form);
  });

  // While a day is being typed it is another day with each digit: what counts is what stands there when its field is left.
  document.addEventListener("focusout", (event) => {
    const item = event.target;
    if (placing || item.type !== "date" || !item.form || !item.form.matches("[data-filters]")) return;
    setTimeout(() => { if (item.value !== item.defaultValue) filter(item.form); else refresh(true); });
  });

  document.addEventListener("input", (event) => {
    const form = event.target.form;
    if (form && form.dataset.action) commandLine(form);
  });

  async function filter(form) {
    const query = new URLSearchParams(new FormData(form));
    for (const [name, value] of [...query]) if (value === "") query.delete(name);
    history.replaceState(null, "", form.action.split("?")[0] + "?" + query);
    stop();
    await refresh(false);
    listen();
  }

  function addTag(button) {
    const rows = button.parentElement.querySelectorAll(".tag-row");
    const row = rows[rows.length - 1].cloneNode(true);
    const number = rows.length + 1;
    if (number > 20) return;
    for (const [input, part] of [[row.children[0], "Key"], [row.children[1], "Value"]]) {
      input.value = "";
      input.name = `Tag.${number}.${part}`;
      input.setAttribute("aria-label", `Tag ${part.toLowerCase()} ${number}`);
    }
    rows[rows.length - 1].after(row);
    row.children[0].focus();
  }

  // The line that does what the form does. The service writes it first (command.rs, fields.rs); here it follows what is typed.
  function commandLine(form) {
    const line = form.querySelector("[data-command-line]");
    if (!line) return;
    const data = new FormData(form);
    const lists = new Map();
    let text = `tidemark ecs ${form.dataset.action} --RegionId ${quoted(form.dataset.region)}`;
    const always = data.get("_keep") === "always";
    const copies = !data.has("_copies") || data.has("EnableCrossRegionCopy");
    const copiesAlways = copies && data.get("_keep-copies") === "always";
    for (const [name, value] of data) {
      if (name.startsWith("_") || value === "" || name === "region" || name === "RegionId") continue;
      if (always && name === "retentionDays") continue;
      if (name === "Consistency" && value !== "Application" && data.getAll(name).includes("Application")) continue;
      if (copiesAlways && name === "CopiedSnapshotsRetentionDays") continue;
      if (!copies && (name === "TargetCopyRegions[]" || name === "CopiedSnapshotsRetentionDays")) continue;
      const pair = name.match(/^Disk\.(\d+)\.SnapshotId$/);
      if (pair && !data.has(`Disk.${pair[1]}.DiskId`)) continue;
      if (name.endsWith("[]")) {
        const list = name.slice(0, -2);
        lists.set(list, [...(lists.get(list) || []), value]);
      } else {
        text += ` --${name} ${quoted(value)}`;
      }
    }
    for (const [name, items] of lists) text += ` --${name} ${quoted(JSON.stringify(items))}`;
    if (always) text += " --retentionDays -1";
    if (!copies && data.get("_copies") === "modify") text += " --EnableCrossRegionCopy false";
    if (copiesAlways) text += " --CopiedSnapshotsRetentionDays -1";
    if (form.dataset.each) {
      const ids = data.getAll("_each").filter((id) => id !== "").map(quoted);
      line.textContent = `for id in ${ids.join(" ")}; do ${text} --${form.dataset.each} "$id"; done`;
      return;
    }
    const count = /^[0-9]{1,3}$/.test(data.get("_Quantity") || "") ? Number(data.get("_Quantity")) : 1;
    const region = `--RegionId ${quoted(form.dataset.region)}`;
    let after = "";
    if (form.dataset.action === "CreateDisk" && data.get("_attach")) after = `AttachDisk ${region} --InstanceId ${quoted(data.get("_attach"))} --DiskId …`;
    if (/^ResetDisks?$/.test(form.dataset.action) && data.get("_start") && data.get("_instance")) after = `StartInstance ${region} --InstanceId ${quoted(data.get("_instance"))}`;
    if (after) after = `  # then, when it is done: tidemark ecs ${after}`;
    line.textContent = (count > 1 ? `for n in $(seq ${count}); do ${text}; done` : text) + after;
  }

  function quoted(word) {
    return /^[A-Za-z0-9\-_./:=@,+%]+$/.test(word) ? word : "'" + word.replaceAll("'", "'\\''") + "'";
  }

  // What needs a script comes with it, what stands in for one goes.
  function ready(root) {
    root.querySelectorAll("[data-copy], [data-add-tag]").forEach((item) => { item.hidden = false; });
    root.querySelectorAll("[data-scriptless]").forEach((item) => { item.hidden = true; });
    root.querySelectorAll("form[data-action]").forEach(commandLine);
  }

  ready(document);
  const kept = sessionStorage.getItem("notice");
  if (kept) {
    sessionStorage.removeItem("notice");
    const live = document.getElementById("live");
    if (live && !document.querySelector("main > .notice")) live.before(...parse(kept).querySelectorAll(".notice"));
  }
  listen();
})();

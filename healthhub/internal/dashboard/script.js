"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const here = new URL(location.href);
  let skew = 0;          // the server's clock before ours, in ms: ages are told by its clock
  let heard = Date.now(); // when the server last said anything
  let toggled = new Set(); // details that the reader opened or closed

  const now = () => Date.now() + skew;
  const age = (iso) => {
    const s = Math.max(0, Math.floor((now() - Date.parse(iso)) / 1000));
    if (s < 120) return s + " s";
    if (s < 7200) return Math.floor(s / 60) + " min";
    if (s < 172800) return Math.floor(s / 3600) + " h";
    return Math.floor(s / 86400) + " d";
  };
  const clock = (iso) => {
    const t = new Date(iso), far = Math.abs(now() - t) > 20 * 3600e3;
    return t.toLocaleString([], far ? { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" } : { hour: "2-digit", minute: "2-digit" });
  };
  const put = (e, text) => { if (e.textContent !== text) e.textContent = text; };

  const tick = () => {
    for (const e of document.querySelectorAll("time.ago")) put(e, age(e.dateTime));
    for (const e of document.querySelectorAll("time.clock")) { put(e, clock(e.dateTime)); e.title = e.dateTime; }
    const d = document.body.dataset, silent = Date.now() - heard > d.frozen * 1000, old = now() - Date.parse(d.at) > d.valid * 1000;
    document.body.classList.toggle("frozen", silent || old);
    $("frozen").hidden = !(silent || old);
    if (silent) put($("frozen-why"), "Nothing was heard from the server for " + age(new Date(heard + skew)) + ".");
    else if (old) put($("frozen-why"), "The server answers, but has not looked at anything for " + age(d.at) + ".");
    put($("pulse-word"), silent || old ? "Frozen, as of" : streaming ? "Live, as of" : "As of");
    $("pulse").classList.toggle("live", !silent && !old);
  };

  // morph makes one element what another is, and leaves alone what is the same: focus, selection and scroll stay.
  const morph = (a, b) => {
    if (a.isEqualNode(b)) return;
    if (a.nodeType !== b.nodeType || a.nodeName !== b.nodeName || a.id !== b.id) { a.replaceWith(b); return; }
    if (a.nodeType === Node.TEXT_NODE) { a.data = b.data; return; }
    for (const { name } of [...a.attributes]) if (!b.hasAttribute(name) && !(name === "open" && toggled.has(a.id))) a.removeAttribute(name);
    for (const { name, value } of b.attributes) if (a.getAttribute(name) !== value && !(name === "open" && toggled.has(a.id))) a.setAttribute(name, value);
    const known = new Map();
    for (const c of a.children) if (c.id) known.set(c.id, c);
    let at = a.firstChild;
    for (const next of [...b.childNodes]) {
      const same = next.id && known.get(next.id);
      if (same && same !== at) a.insertBefore(same, at), at = same;
      if (!at) { a.append(next); continue; }
      if (!same && at.id && at.id !== next.id) { a.insertBefore(next, at); continue; }
      const after = at.nextSibling;
      morph(at, next);
      at = after;
    }
    while (at) { const after = at.nextSibling; at.remove(); at = after; }
  };

  const take = (text) => {
    const doc = new DOMParser().parseFromString(text, "text/html"), main = doc.getElementById("main");
    if (!main) throw new Error("no page");
    const focus = document.activeElement && document.activeElement.closest("[id]"), href = document.activeElement && document.activeElement.getAttribute("href");
    Object.assign(document.body.dataset, { now: doc.body.dataset.now, at: doc.body.dataset.at, valid: doc.body.dataset.valid });
    skew = Date.parse(doc.body.dataset.now) - Date.now();
    document.title = doc.title;
    const icon = document.querySelector("link[rel=icon]"), fresh = doc.querySelector("link[rel=icon]");
    if (icon && fresh && icon.href !== fresh.href) icon.href = fresh.href;
    // The ages and clocks of the new page are told our way first, so that only what differs is touched.
    for (const e of doc.querySelectorAll("time.ago")) e.textContent = age(e.dateTime);
    for (const e of doc.querySelectorAll("time.clock")) { e.textContent = clock(e.dateTime); e.title = e.dateTime; }
    for (const part of ["header nav", "#pulse time", "footer"]) {
      const a = document.querySelector(part), b = doc.querySelector(part);
      if (a && b) morph(a, b);
    }
    const banner = doc.getElementById("frozen");
    if (banner) banner.replaceWith($("frozen").cloneNode(true)); // ours to decide
    morph($("main"), main);
    if (focus && document.activeElement === document.body) { // it moved, and lost the focus on the way
      const again = $(focus.id);
      if (again) (href && again.querySelector(`[href="${CSS.escape(href)}"]`) || again).focus({ preventScroll: true });
    }
    heard = Date.now();
    tick();
  };

  let busy = false, again = false;
  const refresh = async () => {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const url = new URL(here);
      url.searchParams.set("part", "1");
      const r = await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(10000) });
      if (r.status === 401) location.reload(); // the token has changed
      if (r.ok || r.status === 404) take(await r.text());
    } catch { /* the page freezes by itself */ }
    busy = false;
    if (again) { again = false; setTimeout(refresh, 500); }
  };

  // The stream is read by hand: an EventSource does not show the comments by which a quiet server says that it is there.
  // A page in the background has none: over HTTP/1.1 a browser holds six connections to a server, for all of its tabs.
  let streaming = false, stop = null, last = "", wait = 1000;
  const listen = async () => {
    if (stop || document.hidden) return;
    let quiet;
    const mine = stop = new AbortController();
    const alive = () => { clearTimeout(quiet); quiet = setTimeout(() => mine.abort(), document.body.dataset.frozen * 1000); };
    try {
      alive();
      const r = await fetch("v1/events", { cache: "no-store", signal: mine.signal, headers: last ? { "Last-Event-ID": last } : {} });
      if (!r.ok || !r.body) throw new Error(r.status);
      const reader = r.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (streaming = true; ;) {
        const { value, done } = await reader.read();
        if (done) break;
        alive();
        heard = Date.now();
        wait = 1000;
        const lines = (rest + value).split("\n");
        rest = lines.pop().slice(-4096);
        let changed = false;
        for (const line of lines) {
          if (line.startsWith("id:")) last = line.slice(3).trim();
          if (line.startsWith("event:")) changed = true;
        }
        if (changed) refresh();
      }
    } catch { /* tried again below */ }
    clearTimeout(quiet);
    streaming = false;
    stop = null;
    setTimeout(listen, wait * (1 + Math.random()));
    wait = Math.min(wait * 2, 60000);
  };
  const turn = () => {
    if (document.hidden) {
      if (stop) stop.abort();
      return;
    }
    wait = 1000;
    refresh();
    listen();
  };

  skew = Date.parse(document.body.dataset.now) - Date.now();
  if (Math.abs(skew) < 2000) skew = 0; // that much the way here takes
  document.addEventListener("click", (e) => { const s = e.target.closest && e.target.closest("summary"); if (s && s.parentNode.id) toggled.add(s.parentNode.id); });
  document.addEventListener("visibilitychange", turn);
  setInterval(() => { if (!document.hidden) tick(); }, 1000);
  setInterval(refresh, document.body.dataset.refresh * 1000); // in the background too: the icon of the tab tells
  tick();
  listen();
})();

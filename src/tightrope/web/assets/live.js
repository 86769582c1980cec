/* The live pages work without this; with it they stay up to date in place, and answer to keys. */
(function () {
  "use strict";
  var root = document.documentElement, body = document.body;
  var by = function (id) { return document.getElementById(id); };
  var all = function (query, within) { return Array.prototype.slice.call((within || document).querySelectorAll(query)); };
  var kept = function (name, value) {
    try {
      if (value === undefined) { return localStorage.getItem(name); }
      localStorage.setItem(name, value);
    } catch (_) { /* a browser that keeps nothing */ }
    return null;
  };
  var tell = function (text) { by("told").textContent = text; };

  /* --- theme, zone, copying --- */

  var dark = function () {
    var chosen = root.getAttribute("data-theme");
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme:dark)").matches;
  };
  var theme = by("theme");
  var shown = function () { theme.setAttribute("aria-pressed", String(dark())); };
  theme.hidden = false;
  theme.addEventListener("click", function () {
    var wanted = dark() ? "light" : "dark";
    root.setAttribute("data-theme", wanted);
    document.cookie = "tightrope_theme=" + wanted + ";path=/;max-age=31536000;samesite=lax" +
      (location.protocol === "https:" ? ";secure" : "");
    shown();
  });
  shown();

  var zone = by("zone");
  var local = kept("tightrope.zone") === "local";
  var day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
  var asLocal = function (at) {
    var parts = {};
    day.formatToParts(at).forEach(function (one) { parts[one.type] = one.value; });
    return parts.day + " " + parts.month.slice(0, 3) + " " + parts.hour + ":" + parts.minute;
  };
  var times = function (within) {
    all("time[datetime]", within).forEach(function (one) {
      if (!one.dataset.utc) { one.dataset.utc = one.textContent; }
      var text = local ? asLocal(new Date(one.dateTime)) : one.dataset.utc;
      if (one.textContent !== text) { one.textContent = text; }
    });
  };
  var zoned = function () {
    zone.textContent = local ? "Local" : "UTC";
    zone.setAttribute("aria-pressed", String(local));
    times();
  };
  zone.hidden = false;
  zone.addEventListener("click", function () {
    local = !local;
    kept("tightrope.zone", local ? "local" : "utc");
    zoned();
    tell(local ? "Times are in your own zone." : "Times are in UTC.");
  });
  zoned();

  var copy = function (text, what) {
    var done = function () { tell(what + " copied."); };
    if (navigator.clipboard && isSecureContext) {
      navigator.clipboard.writeText(text).then(done, function () { tell("The browser does not let this page copy."); });
      return;
    }
    var field = document.createElement("textarea");
    field.value = text;
    field.className = "vh";
    body.appendChild(field);
    field.select();
    if (document.execCommand("copy")) { done(); }
    field.remove();
  };
  var flash = function (button) {
    var before = button.textContent;
    button.textContent = "Copied";
    setTimeout(function () { button.textContent = before; }, 1500);
  };
  var link = by("copy-link");
  link.hidden = false;
  link.addEventListener("click", function () { copy(location.href, "The link is"); });
  document.addEventListener("click", function (event) {
    var button = event.target.closest && event.target.closest("[data-copy],[data-copy-from]");
    if (!button) { return; }
    var from = button.dataset.copyFrom && by(button.dataset.copyFrom);
    copy(from ? (from.value === undefined ? from.textContent : from.value) : button.dataset.copy, "The text is");
    flash(button);
  });

  /* what scrolls sideways can be reached by keyboard; what does not is no stop on the way */
  var reach = function () {
    all(".tw").forEach(function (box) {
      if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) { box.tabIndex = 0; }
      else { box.removeAttribute("tabindex"); }
    });
  };
  addEventListener("resize", reach);
  document.addEventListener("toggle", reach, true);

  /* --- keys --- */

  var help = by("help"), opener = by("help-open");
  opener.hidden = false;
  opener.addEventListener("click", function () { help.showModal(); });

  var ways = { o: "/", s: "/services", d: "/decisions", a: "/alerts", v: "/delivery", j: "/journal", e: "/specs" };
  var gone = 0;
  var step = function (by_) {
    var rows = all("[data-list] [data-row]");
    if (!rows.length) { return; }
    var at = rows.findIndex(function (row) { return row.contains(document.activeElement); });
    var next = at < 0 ? (by_ > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by_));
    var target = rows[next].querySelector("a[href]");
    if (target) { target.focus(); rows[next].scrollIntoView({ block: "nearest" }); }
  };
  document.addEventListener("keydown", function (event) {
    var writing = event.target.closest("input,textarea,select,[contenteditable]");
    if (event.key === "Escape" && writing) { writing.blur(); return; }
    if (writing || event.ctrlKey || event.metaKey || event.altKey || help.open) { return; }
    if (gone && Date.now() - gone < 1500 && ways[event.key]) {
      gone = 0;
      location.assign(ways[event.key]);
      return;
    }
    gone = 0;
    switch (event.key) {
      case "/": by("find").focus(); break;
      case "g": gone = Date.now(); break;
      case "j": step(1); break;
      case "k": step(-1); break;
      case "t": {
        var range = by("range"), first = range && (range.querySelector("[aria-current]") || range.querySelector("a"));
        if (!first) { return; }
        range.scrollIntoView({ block: "nearest" });
        first.focus();
        break;
      }
      case "c": copy(location.href, "The link is"); break;
      case "?": help.showModal(); break;
      default: return;
    }
    event.preventDefault();
  });

  /* --- find --- */

  var field = by("find"), found = by("found"), asking = 0;
  var close = function () { found.hidden = true; field.removeAttribute("aria-activedescendant"); field.setAttribute("aria-expanded", "false"); };
  field.setAttribute("role", "combobox");
  field.setAttribute("aria-controls", "found");
  field.setAttribute("aria-expanded", "false");
  field.setAttribute("aria-autocomplete", "list");
  found.setAttribute("role", "listbox");
  found.setAttribute("aria-label", "Services");
  field.addEventListener("input", function () {
    clearTimeout(asking);
    if (!field.value.trim()) { close(); return; }
    asking = setTimeout(function () {
      fetch("/find?q=" + encodeURIComponent(field.value)).then(function (answer) {
        return answer.ok ? answer.text() : "";
      }).then(function (text) {
        found.replaceChildren.apply(found, Array.prototype.slice.call(parsed(text).body.childNodes));
        found.hidden = false;
        field.setAttribute("aria-expanded", "true");
      }, close);
    }, 120);
  });
  field.addEventListener("keydown", function (event) {
    var options = all("a", found), at = options.findIndex(function (one) { return one.classList.contains("on-it"); });
    if (event.key === "Escape") { close(); return; }
    if (event.key === "Enter" && at >= 0 && !found.hidden) { event.preventDefault(); location.assign(options[at].href); return; }
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp" || !options.length) { return; }
    event.preventDefault();
    var next = (at + (event.key === "ArrowDown" ? 1 : -1) + options.length) % options.length;
    options.forEach(function (one, number) {
      one.classList.toggle("on-it", number === next);
      one.setAttribute("aria-selected", String(number === next));
    });
    field.setAttribute("aria-activedescendant", options[next].id);
  });
  document.addEventListener("click", function (event) { if (!event.target.closest(".find")) { close(); } });

  /* --- staying up to date, in place --- */

  var parsed = function (text) { return new DOMParser().parseFromString(text, "text/html"); };
  var holds = { open: 1, tabindex: 1 };
  var key = function (node) { return node.nodeType === 1 ? node.id || node.getAttribute("data-key") || "" : ""; };
  var held = null; /* the list under the pointer: it keeps its order until the pointer has left */

  var sync = function (old, fresh) {
    Array.prototype.slice.call(old.attributes).forEach(function (one) {
      if (!fresh.hasAttribute(one.name) && !holds[one.name] && !/^data-utc$/.test(one.name)) { old.removeAttribute(one.name); }
    });
    Array.prototype.slice.call(fresh.attributes).forEach(function (one) {
      if (holds[one.name] && old.nodeName === "DETAILS") { return; }
      if (old.getAttribute(one.name) !== one.value) { old.setAttribute(one.name, one.value); }
    });
  };
  var morph = function (old, fresh) {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
      old.replaceWith(document.importNode(fresh, true));
      return;
    }
    if (old.nodeType !== 1) {
      if (old.nodeValue !== fresh.nodeValue) { old.nodeValue = fresh.nodeValue; }
      return;
    }
    if (old.matches("form,textarea,[data-keep],[data-rest]") || old.isEqualNode(fresh)) { return; }
    sync(old, fresh);
    if (old.nodeName === "TIME") {
      if (old.dataset.utc !== fresh.textContent) { old.dataset.utc = fresh.textContent; old.textContent = fresh.textContent; }
      return;
    }
    children(old, fresh);
  };
  var children = function (old, fresh) {
    var named = {}, still = held && old.contains(held) && old.nodeName === "TBODY";
    Array.prototype.forEach.call(old.childNodes, function (one) { if (key(one)) { named[key(one)] = one; } });
    if (still) { /* same rows, same order; what is new waits */
      Array.prototype.forEach.call(fresh.childNodes, function (one) { if (named[key(one)]) { morph(named[key(one)], one); } });
      return;
    }
    var at = old.firstChild;
    Array.prototype.slice.call(fresh.childNodes).forEach(function (one) {
      var name = key(one), match = name ? named[name] : at && !key(at) ? at : null;
      if (match) {
        delete named[name];
        if (match !== at) { old.insertBefore(match, at); } else { at = at.nextSibling; }
        morph(match, one);
      } else {
        old.insertBefore(document.importNode(one, true), at);
      }
    });
    while (at) { var rest = at.nextSibling; at.remove(); at = rest; }
  };

  var pointer = null;
  document.addEventListener("pointermove", function (event) {
    pointer = event.pointerType === "touch" ? null : { x: event.clientX, y: event.clientY };
  }, { passive: true });
  document.addEventListener("pointerleave", function () { pointer = null; });

  /* what is under the pointer, or has the focus, stays where it is: by scrolling, and where that ends, by a margin */
  var settle = function (main, anchor, before) {
    scrollBy(0, anchor.getBoundingClientRect().top - before);
    var left = anchor.getBoundingClientRect().top - before;
    if (Math.abs(left) > 0.5) { main.style.marginTop = (parseFloat(main.style.marginTop) || 0) - left + "px"; }
  };

  var put = function (text) {
    var page = parsed(text), main = by("main"), answer = by("answer");
    var said = answer ? answer.textContent : "";
    var under = pointer && document.elementFromPoint(pointer.x, pointer.y);
    under = under && main.contains(under) && under !== main ? under : null;
    held = under && under.closest("[data-row]");
    var active = document.activeElement && main.contains(document.activeElement) ? document.activeElement : null;
    var anchor = under || active, before = anchor && anchor.getBoundingClientRect().top;
    ["side", "banners", "main"].forEach(function (id) {
      var fresh = page.getElementById(id), old = by(id);
      if (fresh && old) { children(old, fresh); }
    });
    var stamp = page.querySelector("[data-now]");
    if (stamp) {
      took(Number(stamp.getAttribute("data-now")));
      if (stamp.hasAttribute("data-behind")) { setTimeout(refresh, 2500); }
    }
    if (page.title) { document.title = page.title; }
    complete();
    times(main);
    reach();
    if (anchor && anchor.isConnected) { settle(main, anchor, before); } else { main.style.marginTop = ""; }
    var now = by("answer");
    if (now && now.textContent !== said) { tell(now.textContent); }
  };

  /* the many rows that are simply fine come once the page can be used, a hundred at a time, and follow what happens */
  var idle = window.requestIdleCallback || function (then) { setTimeout(then, 1); };
  var completing = false, restTag = "", rounds = 0;
  var complete = function () {
    var place = document.querySelector("[data-rest]");
    if (!place || completing) { return; }
    completing = true;
    fetch(place.dataset.rest, { headers: restTag ? { "If-None-Match": restTag } : {}, cache: "no-store" }).then(function (answer) {
      if (answer.status === 304 || !answer.ok) { return ""; }
      restTag = answer.headers.get("ETag") || "";
      return answer.text();
    }).then(function (html) {
      if (!html) { return; }
      var fresh = Array.prototype.slice.call(parsed(html).body.children);
      if (all(".chunk", place).length === fresh.length) { fresh.forEach(function (one) { morph(by(one.id), one); }); return; }
      place.replaceChildren();
      rounds += 1;
      var mine = rounds;
      var next = function () {
        if (!fresh.length || !place.isConnected || mine !== rounds) { return; }
        place.appendChild(document.importNode(fresh.shift(), true));
        idle(next);
      };
      next();
    }).catch(function () { /* the link to all services stays */ }).then(function () { completing = false; });
  };

  var lost = by("lost"), clock = 0, taken = Date.now(), etag = "", busy = false, again = false, last = 0, failed = 0;
  var took = function (now) { clock = now; taken = Date.now(); };
  took(Number(body.dataset.now));
  var two = function (number) { return (number < 10 ? "0" : "") + number; };
  var mark = function (why) {
    if (!why) { lost.hidden = true; return; }
    var at = new Date(clock * 1000);
    lost.textContent = why + " What you see is as of " + two(at.getUTCHours()) + ":" + two(at.getUTCMinutes()) + " UTC.";
    lost.hidden = false;
  };
  var still = function () { return !!document.querySelector("[data-still]"); };
  var refresh = function () {
    if (still()) { return; }
    if (document.hidden || busy) { again = true; return; }
    var wait = last + 2000 - Date.now();
    if (wait > 0) { again = true; setTimeout(catchUp, wait); return; }
    busy = true;
    again = false;
    last = Date.now();
    var address = new URL(location.href);
    address.searchParams.set("fragment", "1");
    address.searchParams.delete("done");
    address.hash = "";
    fetch(address, { headers: etag ? { "If-None-Match": etag } : {}, cache: "no-store" }).then(function (answer) {
      if (answer.status === 401) { location.reload(); return null; }
      if (answer.status === 304) { return ""; }
      if (!answer.ok) { throw new Error(String(answer.status)); }
      etag = answer.headers.get("ETag") || "";
      return answer.text();
    }).then(function (text) {
      failed = 0;
      mark("");
      if (text) { put(text); } else if (text === "") { taken = taken; }
    }).catch(function () {
      failed += 1;
      if (failed > 1) { mark("Tightrope cannot be reached."); }
    }).then(function () { busy = false; catchUp(); });
  };
  var catchUp = function () { if (again && !document.hidden) { again = false; refresh(); } };

  var service = body.querySelector("[data-service]");
  var events = null;
  var listen = function () {
    if (!window.EventSource || still() || events || document.hidden) { return; }
    events = new EventSource("/api/v1/events/stream");
    /* what happened between the making of the page and now, or while nobody listened */
    events.addEventListener("open", function () { setTimeout(refresh, 800); });
    events.addEventListener("turn", function (event) {
      var told = {};
      try { told = JSON.parse(event.data); } catch (_) { told = {}; }
      var about = service && service.dataset.service;
      if (!about || !told.services || told.services.indexOf(about) >= 0 || told.events) { refresh(); }
    });
    events.addEventListener("journal", function (event) {
      var about = service && service.dataset.service, told = {};
      try { told = JSON.parse(event.data); } catch (_) { told = {}; }
      if (!about || !told.subject || told.subject === about) { refresh(); }
    });
    events.addEventListener("error", function () {
      if (events && events.readyState === 2) { deaf(); setTimeout(listen, 15000); }
    });
  };
  var deaf = function () { if (events) { events.close(); events = null; } };
  /* a browser has few connections to one server: a page that nobody looks at holds none */
  document.addEventListener("visibilitychange", function () {
    if (document.hidden) { deaf(); } else { listen(); again = true; catchUp(); }
  });
  addEventListener("pagehide", deaf);
  addEventListener("pageshow", function (event) { if (event.persisted) { listen(); refresh(); } });
  listen();
  if (body.hasAttribute("data-behind")) { setTimeout(refresh, 2500); }
  /* what is under way changes by the second, and is no turn of the loop */
  setInterval(function () { if (document.querySelector("[data-busy]")) { refresh(); } }, 2000);
  setInterval(function () { if (!events || events.readyState !== 1 || Date.now() - last > 60000) { refresh(); } }, 15000);

  /* --- the age of the telemetry goes on between two turns --- */

  var span = function (s) {
    if (s < 100) { return Math.round(s) + " s"; }
    if (s < 6000) { return (s / 60).toFixed(1) + " min"; }
    if (s < 172800) { return Math.floor(s / 3600) + " h " + Math.floor(s % 3600 / 60) + " m"; }
    return (s / 86400).toFixed(1) + " d";
  };
  setInterval(function () {
    var now = clock + (Date.now() - taken) / 1000;
    all("[data-newest]").forEach(function (one) {
      one.lastElementChild.textContent = "Telemetry " + span(Math.max(0, now - Number(one.dataset.newest))) + " old";
    });
  }, 1000);

  /* --- the editor: numbers beside the lines, and findings as one writes --- */

  var editor = document.querySelector("[data-editor]");
  if (editor) {
    var text = editor.querySelector("textarea"), lines = editor.querySelector(".lines"), findings = by("findings");
    var wrong = {}, checking = 0, turn = 0;
    var numbers = function () {
      var count = text.value.split("\n").length, shown = [];
      for (var n = 1; n <= count; n += 1) {
        var number = document.createElement(wrong[n] ? "b" : "span");
        number.textContent = n + "\n";
        shown.push(number);
      }
      lines.replaceChildren.apply(lines, shown);
      lines.scrollTop = text.scrollTop;
    };
    var send = function (what, where, after) {
      var form = new URLSearchParams(new FormData(editor));
      form.set("do", what);
      turn += 1;
      var mine = turn;
      return fetch(editor.getAttribute("action") + "?piece=1", {
        method: "POST", body: form, headers: { "Content-Type": "application/x-www-form-urlencoded" }
      }).then(function (answer) {
        if (!answer.ok) { throw new Error(String(answer.status)); }
        return answer.text();
      }).then(function (html) {
        if (mine !== turn) { return; }
        where.replaceChildren.apply(where, Array.prototype.slice.call(parsed(html).body.childNodes));
        reach();
        if (after) { after(); }
      });
    };
    var check = function () {
      by("checking").textContent = "";
      send("check", findings, function () {
        wrong = {};
        all("[data-line]", findings).forEach(function (one) {
          if (one.dataset.severity === "error") { wrong[one.dataset.line] = true; }
        });
        var errors = all('[data-severity="error"]', findings).length;
        by("checking").textContent = errors ? errors + (errors === 1 ? " error" : " errors") : "";
        numbers();
      }).catch(function () { by("checking").textContent = "cannot be checked just now"; });
    };
    text.addEventListener("input", function () {
      numbers();
      clearTimeout(checking);
      checking = setTimeout(check, 400);
    });
    text.addEventListener("scroll", function () { lines.scrollTop = text.scrollTop; });
    editor.addEventListener("submit", function (event) {
      if (!event.submitter || event.submitter.value !== "preview") { return; }
      event.preventDefault();
      var place = by("preview"), words = document.createElement("p");
      words.className = "t3";
      words.textContent = "Replaying the last 90 days …";
      place.replaceChildren(words);
      send("preview", place, function () { place.closest("section").scrollIntoView({ block: "nearest" }); })
        .catch(function () { words.textContent = "The preview cannot be made just now."; });
    });
    numbers();
    check();
  }

  all(".copy").forEach(function (one) { one.hidden = false; });
  reach();
  idle(complete);
  var opened = location.hash && by(decodeURIComponent(location.hash.slice(1)));
  if (opened && opened.closest("details")) { opened.closest("details").open = true; opened.scrollIntoView(); }
})();

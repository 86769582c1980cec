(function () {
  var root = document.documentElement, button = document.getElementById("theme");
  var dark = function () {
    var chosen = root.getAttribute("data-theme");
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme:dark)").matches;
  };
  var tell = function () { button.setAttribute("aria-pressed", String(dark())); };
  var reveal = function () {
    var part = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    var fold = part && (part.matches("details") ? part : part.querySelector("details.fold"));
    if (fold) { fold.open = true; part.scrollIntoView(); }
  };
  /* what scrolls sideways can be reached by keyboard; what does not is no stop on the way */
  var reach = function () {
    document.querySelectorAll(".tw").forEach(function (box) {
      if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) { box.tabIndex = 0; }
      else { box.removeAttribute("tabindex"); }
    });
  };
  var wanted = new URLSearchParams(location.search).get("theme");
  if (wanted === "dark" || wanted === "light") { root.setAttribute("data-theme", wanted); }
  button.hidden = false;
  button.addEventListener("click", function () {
    root.setAttribute("data-theme", dark() ? "light" : "dark");
    tell();
  });
  addEventListener("hashchange", reveal);
  addEventListener("resize", reach);
  document.addEventListener("toggle", reach, true);
  tell();
  reveal();
  reach();
})();

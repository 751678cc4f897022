// What is wrong with the page, as a list of sentences. See browser_test.go.
(() => {
  const bad = [], said = new Set();
  const say = (s) => { if (!said.has(s)) { said.add(s); bad.push(s); } };
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const ground = (e) => {
    const layers = [];
    for (; e; e = e.parentElement) layers.push(rgba(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => (c /= 255) <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
    return .2126 * x + .7152 * y + .0722 * z;
  };
  const contrast = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + .05) / (y + .05); };
  const hidden = (e) => e.closest(".vh, [hidden], .skip") || !e.checkVisibility() || parseFloat(getComputedStyle(e).fontSize) === 0;
  const name = (e) => e.localName + (e.className.baseVal ?? e.className ? "." + (e.className.baseVal ?? e.className) : "");

  if (document.scrollingElement.scrollWidth > innerWidth) {
    const wide = [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".vh")).map(name);
    say(`wider than the screen by ${document.scrollingElement.scrollWidth - innerWidth}: ${wide.slice(0, 6)}`);
  }
  let texts = 0;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n; (n = walk.nextNode());) {
    const e = n.parentElement;
    if (!n.data.trim() || e.closest("script, style, noscript, svg") || hidden(e)) continue;
    texts++;
    const s = getComputedStyle(e), size = parseFloat(s.fontSize), large = size >= 24 || size >= 18.66 && s.fontWeight >= 700;
    const back = ground(e), c = contrast(over(rgba(s.color), back), back);
    if (c < (large ? 3 : 4.5)) say(`text ${name(e)} ${JSON.stringify(n.data.trim().slice(0, 20))} has contrast ${c.toFixed(2)}`);
  }
  for (const e of document.querySelectorAll("svg rect.pass, svg rect.warn, svg rect.fail, svg rect.unknown, svg rect.starting, svg rect.sure")) {
    const s = getComputedStyle(e), fill = rgba(s.fill);
    fill[3] *= s.opacity;
    const back = ground(e.closest("svg").parentElement), c = contrast(over(fill, back), back);
    if (!hidden(e) && c < 3) say(`bar ${name(e)} has contrast ${c.toFixed(2)}`);
  }
  for (const e of document.querySelectorAll("svg.sign, svg.big")) {
    const back = ground(e.parentElement), c = contrast(rgba(getComputedStyle(e).getPropertyValue("--c")), back);
    if (!hidden(e) && c < 3) say(`sign in ${name(e.parentElement)} has contrast ${c.toFixed(2)}`);
  }
  for (const e of document.querySelectorAll("main p, main h1, main h2, main th, main td, main li, main dd")) {
    if (!hidden(e) && e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0 && !e.closest("thead") && getComputedStyle(e).display !== "inline" && getComputedStyle(e).overflowX === "visible")
      say(`${name(e)} ${JSON.stringify(e.textContent.trim().slice(0, 30))} runs out of its box by ${e.scrollWidth - e.clientWidth}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  for (const id of ids.filter((id, i) => ids.indexOf(id) < i)) say(`two elements have the id ${id}`);
  for (const e of document.querySelectorAll("svg:not([aria-hidden])")) if (e.getAttribute("role") !== "img" || !e.querySelector(":scope > title")?.textContent) say(`${name(e)} has no words`);
  for (const e of document.querySelectorAll("[aria-labelledby]")) if (!document.getElementById(e.getAttribute("aria-labelledby"))) say(`${name(e)} is named by nothing`);
  for (const mark of ["header", "nav", "main", "footer"]) if (document.querySelectorAll(mark).length !== 1) say(`not one landmark ${mark}`);
  if (document.querySelectorAll("h1").length !== 1) say("not one first heading");
  if (texts < 4) say(`only ${texts} texts`);
  return bad;
})()

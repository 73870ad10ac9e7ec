// What browser.py measures in a page. Each function returns what is wrong, in words.

const root = document.documentElement;
const style = (e) => getComputedStyle(e);
const seen = (e) => e.checkVisibility({ visibilityProperty: true, contentVisibilityAuto: true });
const scrolls = (e) => /auto|scroll/.test(style(e).overflowX);

function nameOf(e) {
  const words = (e.getAttribute("aria-label") || e.textContent || "").trim().slice(0, 40);
  return `${e.tagName.toLowerCase()}${e.id ? "#" + e.id : ""} '${words}'`;
}

function within(e, holds) {
  for (let p = e; p && p !== root; p = p.parentElement) if (holds(p)) return p;
  return null;
}

// Text for screen readers alone: one pixel large, or off the page until it has the focus.
const outOfSight = (e) =>
  within(e, (p) => {
    const box = p.getBoundingClientRect();
    const small = box.width <= 1 || box.height <= 1;
    const away = box.right + scrollX <= 0 || box.bottom + scrollY <= 0;
    return /absolute|fixed/.test(style(p).position) && (small || away);
  });

function widerThanScreen() {
  const found = [];
  if (root.scrollWidth > root.clientWidth)
    found.push(`the page is ${root.scrollWidth} wide, the screen ${root.clientWidth}`);
  for (const e of document.body.querySelectorAll("*")) {
    if (e.ownerSVGElement || !seen(e) || within(e.parentElement, scrolls)) continue;
    const right = e.getBoundingClientRect().right + scrollX;
    if (right > root.clientWidth + 1) found.push(`${nameOf(e)} ends at ${Math.round(right)}`);
  }
  return found;
}

// The size of type as it is seen: pixels of a picture's text grow and shrink with the picture.
function smallText(least) {
  const found = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const e = node.parentElement;
    if (!node.data.trim() || /^(script|style|title|desc)$/i.test(e.tagName)) continue;
    if (!seen(e) || outOfSight(e)) continue;
    let size = parseFloat(style(e).fontSize) * visualViewport.scale;
    if (e instanceof SVGGraphicsElement) {
      const m = e.getScreenCTM();
      size *= Math.sqrt(Math.abs(m.a * m.d - m.b * m.c));
    }
    if (size < least - 0.05) found.add(`${size.toFixed(1)} px: ${nameOf(e)}`);
  }
  return [...found];
}

// A few pixels may stick out of a tight line; a line of text is more.
function cutText() {
  const found = [];
  for (const e of document.body.querySelectorAll("*")) {
    if (e instanceof SVGElement || !e.textContent.trim() || !seen(e) || outOfSight(e)) continue;
    const { overflowX, overflowY } = style(e);
    const across = !/auto|scroll/.test(overflowX) && e.scrollWidth > e.clientWidth + 4;
    const down = !/auto|scroll/.test(overflowY) && e.scrollHeight > e.clientHeight + 4;
    if ((e.clientWidth && across) || (e.clientHeight && down)) found.push(nameOf(e));
  }
  return found;
}

// WCAG 2.2, success criterion 1.4.12. A constructed sheet: a page's own policy lets it pass.
function spaceText() {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(
    `* { line-height: 1.5 !important; letter-spacing: 0.12em !important;
         word-spacing: 0.16em !important; }
     p { margin-bottom: 2em !important; }`,
  );
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
}

function wordsOf(picture) {
  if (picture.tagName === "IMG") return picture.alt;
  const ids = (picture.getAttribute("aria-labelledby") || "").split(/\s+/).filter(Boolean);
  const words = ids.map((id) => document.getElementById(id)?.textContent || "").join(" ");
  return words || picture.getAttribute("aria-label") || "";
}

function pictureFaults() {
  const found = [];
  const said = new Map();
  const pictures = [...document.querySelectorAll("img, svg")].filter(
    (e) => !e.ownerSVGElement && !e.closest("[aria-hidden=true]") && seen(e),
  );
  if (!pictures.length) found.push("there are no pictures");
  pictures.forEach((e, i) => {
    const label = `picture ${i + 1}${e.id ? " #" + e.id : ""}`;
    const words = wordsOf(e).trim();
    const box = e.getBoundingClientRect();
    if (box.width < 20 || box.height < 20 || e.naturalWidth === 0)
      found.push(`${label} is not drawn`);
    if (!words) found.push(`${label} has no words`);
    else if (said.has(words)) found.push(`${label} says what ${said.get(words)} says`);
    else said.set(words, label);
  });
  return found;
}

function emptyPictures() {
  for (const e of document.querySelectorAll("svg")) if (!e.ownerSVGElement) e.replaceChildren();
}

function pixel(colour) {
  const canvas = document.createElement("canvas").getContext("2d");
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
}

// Relative luminance of WCAG 2.2, from 0 to 1.
function luminance([r, g, b]) {
  const linear = [r, g, b].map((v) =>
    v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4,
  );
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}

function colourBehind(e) {
  for (let p = e.parentElement; p; p = p.parentElement) {
    const colour = pixel(style(p).backgroundColor);
    if (colour[3] === 255) return colour;
  }
  return pixel("Canvas");
}

// Contrast of the focus ring with what is behind it; 0 where there is no ring of two pixels.
function ringOf(e) {
  const { outlineStyle, outlineWidth, outlineColor } = style(e);
  if (outlineStyle === "auto") return 3; // the browser's own, drawn in two colours
  if (outlineStyle === "none" || parseFloat(outlineWidth) < 2) return 0;
  const both = [luminance(pixel(outlineColor)), luminance(colourBehind(e))];
  return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
}

// Writes down every stop of the focus from now on; finishFocus() returns them. The value is how
// many stops there should be.
function watchFocus() {
  const able = "a[href], summary, button, input, select, textarea, [tabindex]";
  const wanted = [...document.querySelectorAll("*")].filter(
    (e) =>
      seen(e) &&
      ((e.matches(able) && e.tabIndex >= 0) ||
        (scrolls(e) && e.scrollWidth > e.clientWidth + 1)),
  );
  const stops = [];
  const reached = new Set();
  let first = null;
  let again = false;
  document.addEventListener("focusin", ({ target }) => {
    // A browser without bars has nowhere else to go: from the end it begins anew.
    again ||= target === first;
    first ??= target;
    reached.add(target);
    const box = target.getBoundingClientRect();
    const onScreen = box.bottom > 0 && box.top < innerHeight && box.right > 0;
    const shown = box.width > 1 && box.height > 1 && onScreen && box.left < innerWidth;
    stops.push({ name: nameOf(target), ring: ringOf(target), shown });
  });
  window.finishFocus = () => ({
    stops,
    missed: wanted.filter((e) => !reached.has(e)).map(nameOf),
    left: again || document.activeElement === document.body,
  });
  scrollTo(0, 0);
  return wanted.length;
}

// What is painted behind the middle of an element: the nearest opaque fill or background.
function paintedBehind(e) {
  const box = e.getBoundingClientRect();
  const stack = document.elementsFromPoint((box.left + box.right) / 2, (box.top + box.bottom) / 2);
  for (const one of stack) {
    if (one === e || e.contains(one)) continue;
    const { fill, fillOpacity, opacity, backgroundColor } = style(one);
    const drawn = one.ownerSVGElement ? [fill, fillOpacity * opacity] : [backgroundColor, 1];
    if (drawn[0] === "none" || drawn[1] < 0.5) continue;
    const colour = pixel(drawn[0]);
    if (colour[3] === 255) return colour;
  }
  return pixel("Canvas");
}

// axe leaves text in pictures undecided, so its contrast is worked out here.
function faintPictureText(least) {
  const found = new Set();
  for (const e of document.querySelectorAll("svg text")) {
    if (!seen(e) || !e.textContent.trim()) continue;
    e.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
    const both = [luminance(pixel(style(e).fill)), luminance(paintedBehind(e))];
    const contrast = (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    if (contrast < least) found.add(`${contrast.toFixed(1)}: ${nameOf(e)}`);
  }
  return [...found];
}

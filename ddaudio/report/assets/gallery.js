"use strict";
/* The gallery: sorting, filtering, small pictures drawn when they come into view, one sound at a time. */

const RANGE_DB = 90, LEAST_DB = -127;
const body = document.querySelector("#fits tbody"), rows = [...body.rows];
const pictures = JSON.parse(document.getElementById("pictures").textContent, revive);
const palette = paletteOf(JSON.parse(document.getElementById("colours").textContent).magma);

function draw(row) {
  const canvas = row.querySelector("canvas"), [original, resynthesis] = pictures[row.dataset.place];
  const loudest = original.reduce((most, level) => Math.max(most, level), SILENT), high = loudest > LEAST_DB ? loudest : 0, half = canvas.height / 2;
  [original, resynthesis].forEach((levels, place) => {
    const [, columns] = levels.shape, small = Object.assign(document.createElement("canvas"), { width: columns, height: levels.shape[0] });
    paint(small, levels, levels.shape, [high - RANGE_DB, high], palette);
    canvas.getContext("2d").drawImage(small, 0, place * half, canvas.width, half - 1);
  });
}

const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) if (isIntersecting) { seen.unobserve(target); draw(target); }
}, { rootMargin: "300px" });
rows.forEach((row) => seen.observe(row));
window.addEventListener("beforeprint", () => rows.forEach(draw));

const valueOf = (row, key) => (key === "name" ? row.querySelector("th a").textContent.toLowerCase() : parseFloat(row.querySelector(`td[data-key="${key}"]`).dataset.value));

/** Missing values come last in either order. */
function sort(head) {
  const { key, first = "ascending" } = head.dataset, now = head.getAttribute("aria-sort");
  const way = !now ? first : now === "ascending" ? "descending" : "ascending", sign = way === "ascending" ? 1 : -1;
  for (const other of document.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", way);
  const none = (value) => Number.isNaN(value);
  rows.sort((a, b) => {
    const [one, two] = [valueOf(a, key), valueOf(b, key)];
    return none(one) || none(two) ? none(one) - none(two) : sign * (one < two ? -1 : one > two ? 1 : 0);
  });
  body.append(...rows);
}
for (const head of document.querySelectorAll("th[data-key]")) head.querySelector("button").onclick = () => sort(head);

function filter() {
  const text = document.getElementById("filter").value.toLowerCase(), rating = document.getElementById("rating").value;
  let shown = 0;
  for (const row of rows) {
    row.hidden = !(row.cells[0].textContent.toLowerCase().includes(text) && (!rating || row.classList.contains(rating)));
    shown += !row.hidden;
  }
  document.getElementById("count").textContent = shown === rows.length ? "" : `${shown} of ${rows.length} shown`;
}
document.getElementById("filter").addEventListener("input", filter);
document.getElementById("rating").addEventListener("change", filter);

/** One sound at a time; another sound of the same row continues at the same position. */
const player = new Audio();
let pressed = null;
function press(button) {
  pressed?.setAttribute("aria-pressed", false);
  pressed = button;
  button?.setAttribute("aria-pressed", true);
}
player.addEventListener("ended", () => press(null));
player.addEventListener("error", () => { if (pressed) { pressed.disabled = true; pressed.title = "this file cannot be played here"; press(null); } });
for (const button of document.querySelectorAll("button[data-sound]")) button.onclick = () => {
  if (button === pressed) { player.pause(); press(null); return; }
  const at = pressed?.closest("tr") === button.closest("tr") ? player.currentTime : 0;
  press(button);
  player.src = button.dataset.sound;
  player.currentTime = at;
  player.play().catch(() => {});
};

"use strict";
/* Puts player and pictures together: buttons, keys, the playhead. */

/** Width of plots in print: A4 and Letter within their margins, in CSS pixels. */
const PAPER = 690;
const element = (id) => document.getElementById(id);
/** seen: sounds can be played and the first plots are visible; ready: plots are interactive; whole: everything is drawn. */
const ddaudio = (window.ddaudio = { seen: null, ready: null, whole: null });

function fail(error) {
  const box = element("failure");
  box.hidden = false;
  box.textContent = `This page could not be drawn whole: ${error.message ?? error}. A browser of 2023 or later shows it.`;
}

async function loadPlotly() {
  if (element("plotly")) {
    const script = document.createElement("script");
    script.textContent = await (await unpack(element("plotly").textContent)).text();
    document.head.append(script);
  }
  if (!window.Plotly) throw new Error("the script of the pictures, which several pages share, is not where it was; make this page anew with ddaudio report");
}

/** Plots are redrawn when the background or the available space changes. */
function redrawOnChange(pictures) {
  let narrow = element("sight").clientWidth < NARROW;
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => pictures.drawAll());
  // Paper is white and narrower than most screens.
  const print = (on) => () => { document.documentElement.classList.toggle("printing", on); pictures.recolour(on ? PAPER : null); };
  window.addEventListener("beforeprint", print(true));
  window.addEventListener("afterprint", print(false));
  window.addEventListener("resize", () => {
    const now = element("sight").clientWidth < NARROW;
    if (now !== narrow) { narrow = now; pictures.sight(); }
    pictures.mark();
  });
}

function connect(player, pictures, facts) {
  const start = facts.clips.start_s, bar = element("position"), clock = element("clock"), sounds = [...document.querySelectorAll("button.sound")];
  const now = () => start + player.position;
  Object.assign(bar, { min: start, max: start + player.duration });

  const paint = () => {
    const seconds = now();
    bar.value = seconds;
    bar.setAttribute("aria-valuetext", `${seconds.toFixed(2)} seconds`);
    clock.textContent = `${seconds.toFixed(2)} of ${facts.duration_s.toFixed(2)} s`;
    pictures.mark(seconds, player.loop);
  };
  // The playhead is drawn at most once per frame.
  let frame = 0;
  const soon = () => { cancelAnimationFrame(frame); frame = requestAnimationFrame(tick); };
  const tick = () => { paint(); if (player.playing) soon(); };
  player.tell = () => {
    element("play").classList.toggle("playing", player.playing);
    element("play").querySelector(".what").textContent = player.playing ? "Pause" : "Play";
    sounds.forEach((button, place) => button.setAttribute("aria-pressed", place === player.selected));
    element("loop").setAttribute("aria-pressed", player.loop !== null);
    element("loop").textContent = player.loop ? `Loop ${(start + player.loop[0]).toFixed(2)} to ${(start + player.loop[1]).toFixed(2)} s` : "Loop the visible section";
    element("match").setAttribute("aria-pressed", player.matched);
    soon();
  };

  const toggle = () => (player.playing ? player.pause() : player.play());
  const seek = (seconds) => player.seek(seconds - start);
  const step = (way) => {
    seek(now() + (way * (pictures.view[1] - pictures.view[0])) / 20);
    pictures.readLoudest(now());
  };
  const zoom = (factor) => {
    const [from, to] = pictures.view, at = Math.min(Math.max(now(), from), to);
    return pictures.show([at - (at - from) * factor, at + (to - at) * factor]);
  };
  const loop = () => {
    if (player.loop) return player.repeat(null);
    const [from, to] = pictures.view.map((seconds) => Math.min(Math.max(seconds - start, 0), player.duration));
    return to - from > 0.005 ? player.repeat([from, to]) : null;
  };
  const actions = {
    " ": toggle, ...Object.fromEntries(sounds.map((_, place) => [place + 1, () => player.select(place)])),
    ArrowLeft: () => step(-1), ArrowRight: () => step(1),
    l: loop, m: () => player.match(!player.matched), "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: () => pictures.show(pictures.full),
  };
  pictures.seek = seek;
  element("play").onclick = toggle;
  element("loop").onclick = loop;
  element("match").onclick = actions.m;
  element("zoom-in").onclick = actions["+"];
  element("zoom-out").onclick = actions["-"];
  element("zoom-all").onclick = actions[0];
  sounds.forEach((button, place) => { button.onclick = () => player.select(place); });
  bar.addEventListener("input", () => seek(+bar.value));
  element("channel")?.addEventListener("change", (event) => { player.listen(+event.target.value); pictures.channel = +event.target.value; pictures.drawAll(); });
  element("log").addEventListener("change", (event) => { pictures.logarithmic = event.target.checked; pictures.sight(); });
  document.addEventListener("keydown", (event) => {
    const action = actions[event.key] ?? actions[event.key.toLowerCase()], at = event.target;
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    // Controls keep their own keys.
    if (at.matches("select, textarea, input:not([type=range])") || (event.key === " " && at.matches("button, summary, a, input"))) return;
    if (event.key.startsWith("Arrow") && at.matches(".scroll")) return;
    event.preventDefault();
    action();
  });
  player.tell();
}

/** Resolves when the browser has painted, or soon after in a background tab, which is not painted. */
const shown = () => new Promise((done) => { requestAnimationFrame(() => setTimeout(done)); setTimeout(done, 100); });

async function sketched(duration_s) {
  const pictures = new Pictures(JSON.parse(await (await unpack(element("pictures").textContent)).text(), revive), duration_s);
  pictures.sketch();
  return pictures;
}

/** Sounds are decoded while the first plots are sketched. */
async function open() {
  const facts = JSON.parse(element("facts").textContent), { clips } = facts;
  const player = new Player(clips.sounds, clips.channels, () => {}), files = [...document.querySelectorAll("script.flac")].map((one) => bytesOf(one.textContent));
  const [pictures] = await Promise.all([sketched(facts.duration_s), player.decode(files, clips.sample_rate)]);
  Object.assign(ddaudio, { player, pictures });
  pictures.start_s = clips.start_s;
  pictures.buffers = { list: player.buffers, start_s: clips.start_s, gains: clips.sounds.map((sound) => sound.gain) };
  connect(player, pictures, facts);
  element("play").disabled = false;
  await shown();
}

async function answer() {
  const { pictures } = ddaudio;
  await loadPlotly();
  await pictures.sight();
  pictures.mark();
  redrawOnChange(pictures);
}

element("copy").onclick = async () => {
  await navigator.clipboard.writeText(element("command").textContent);
  element("copy").textContent = "Copied";
};
ddaudio.seen = open();
ddaudio.ready = ddaudio.seen.then(answer).catch((error) => { fail(error); throw error; });
ddaudio.whole = ddaudio.ready.then(() => ddaudio.pictures.drawRest());
ddaudio.whole.catch(fail);

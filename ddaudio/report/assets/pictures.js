"use strict";
/* The pictures: plotly draws axes and lines, we draw what has a value at every point. All pictures over time share their stretch of time. */

const NAMES = ["original", "resynthesis", "residual"];
const RANGE_DB = 90, NOISE_RANGE_DB = 70, LEAST_DB = -127, LEAST_HZ = 1, LOG_ROWS = 512, POINTS = 8, NARROW = 720;
/** Margins around waveforms and spectrograms in pixels. */
const AROUND = { l: 64, r: 16, t: 28, b: 48 };
/** Colour of the pitch over a spectrogram, for colour-blind readers as well (Okabe and Ito, 2008). */
const PITCH = "#56b4e9";
/** Ticks of logarithmic frequency axes. */
const HZ = [1, 2, 5].flatMap((one) => [1, 10, 100, 1000, 10000].map((ten) => one * ten)).sort((a, b) => a - b);
const ticksAt = (tickvals) => ({ tickvals, ticktext: tickvals.map((hz) => (hz < 1000 ? `${hz}` : `${+(hz / 1000).toPrecision(6)}k`)) });
const LOGARITHMIC = { type: "log", ...ticksAt(HZ) };

/** The largest of 1, 2, 5, 10, ... up to a number. */
function roundBelow(number) {
  const ten = 10 ** Math.floor(Math.log10(number));
  return +([5, 2, 1].find((one) => one * ten <= number * 1.0001) * ten).toPrecision(1);
}

/** Ticks of a logarithmic axis over a range in Hz; finer ones if it contains fewer than three of the default ticks. */
function hzTicks(from, to) {
  if (HZ.filter((hz) => hz >= from && hz <= to).length > 2 || !(to > from)) return ticksAt(HZ);
  const step = roundBelow((to - from) / 3), first = Math.ceil(from / step), count = Math.floor(to / step) - first + 1;
  return ticksAt(Array.from({ length: count }, (_, i) => +((first + i) * step).toPrecision(6)));
}

/** A trace that only shows its colour bar. */
function scaleOf(colorscale, low, high, title, more = {}) {
  const colorbar = { title: { text: title, side: "top" }, thickness: 10, outlinewidth: 0, len: 0.9, ...more };
  return { x: [null], y: [null], type: "scatter", mode: "markers", marker: { color: [low], colorscale, cmin: low, cmax: high, showscale: true, colorbar }, showlegend: false };
}

function theme() {
  const style = getComputedStyle(document.documentElement);
  return (name) => style.getPropertyValue(`--${name}`).trim();
}

/** Rows of one channel, or for -1 the result of `pick` (Math.max or Math.min) over all. */
function channelOf(values, channel, pick) {
  const [channels, ...rest] = values.shape, size = rest.reduce((a, b) => a * b, 1);
  if (channel >= 0 || channels === 1) {
    const first = Math.min(Math.max(channel, 0), channels - 1) * size;
    return values.subarray(first, first + size);
  }
  const found = values.slice(0, size);
  for (let c = 1; c < channels; c++) for (let i = 0; i < size; i++) found[i] = pick(found[i], values[c * size + i]);
  return found;
}

/** LOG_ROWS rows; `place` gives their ranges (0 to 1). Rows that are merged keep the highest values, so that no peak is hidden. */
function stretched(values, rows, columns, place) {
  const edge = (at) => place(at / LOG_ROWS), found = new values.constructor(LOG_ROWS * columns).fill(SILENT);
  for (let at = 0; at < LOG_ROWS; at++) {
    const last = Math.min(rows, Math.max(Math.ceil(edge(at + 1)), Math.floor(edge(at)) + 1));
    for (let row = Math.floor(edge(at)); row < last; row++) {
      for (let column = 0; column < columns; column++) found[at * columns + column] = Math.max(found[at * columns + column], values[row * columns + column]);
    }
  }
  return found;
}

/** Position of each sound's waveform and spectrogram, as fractions of the plot from the left and from the bottom. */
function rooms(narrow) {
  const waves = narrow ? 0.24 : 0.27;
  return NAMES.map((_, place) => {
    const [bottom, height] = narrow ? [1 - place / 3 - 0.29, 0.26] : [0, 1];
    return { across: narrow ? [0, 1] : [place * 0.342, place * 0.342 + 0.316], wave: [bottom + (1 - waves) * height, bottom + height], spectrum: [bottom, bottom + (0.97 - waves) * height] };
  });
}

const heightOf = (narrow) => (narrow ? 980 : 500);

class Pictures {
  constructor(data, duration) {
    Object.assign(this, { data, duration, view: [0, duration], full: [0, duration], channel: -1, logarithmic: false, plots: {}, buffers: null });
    this.palette = Object.fromEntries(Object.entries(data.colours).map(([name, hex]) => [name, paletteOf(hex)]));
    const loudest = data.spectrogram.sounds[0].reduce((a, b) => Math.max(a, b), SILENT);
    this.top = loudest > LEAST_DB ? loudest : 0;
    const peak = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0), { sounds } = data.waveform;
    this.peak = 1.05 * Math.max(...sounds.slice(0, 2).flatMap(({ low, high }) => [peak(low), peak(high)])) || 1;
    this.seconds = this.start_s = 0;
    this.seek = () => {};
  }

  /** Common part of all layouts. */
  layout(more, ink = theme()) {
    const axis = { gridcolor: ink("grid"), linecolor: ink("line"), zerolinecolor: ink("line"), automargin: true };
    const axes = Object.fromEntries(Object.entries(more).filter(([name]) => /^[xy]axis/.test(name)).map(([name, own]) => [name, { ...axis, ...own, title: { text: own.title || "", font: { size: 12 }, standoff: 8 } }]));
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink("ink"), size: 12, family: "system-ui, sans-serif" },
      margin: { l: 56, r: 12, t: 28, b: 44 }, dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom", hovermode: "closest",
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, ...more, ...axes,
    };
  }

  async draw(id, traces, layout, time = []) {
    const place = document.getElementById(id);
    await Plotly.react(place, traces, layout, { displayModeBar: false, responsive: true });
    // Screen readers read the label of a plot; plotly's own elements have no useful text.
    place.querySelector(".plot-container")?.setAttribute("aria-hidden", "true");
    await this.refine(place);
    if (!this.plots[id] && time.length) {
      place.on("plotly_relayout", (change) => this.follow(id, change));
      place.on("plotly_afterplot", () => this.mark());
      this.point(place, id);
    }
    this.plots[id] ||= { place, time };
  }

  /** Set the ticks of logarithmic frequency axes for the visible range. */
  async refine(place) {
    const change = {};
    for (const [name, axis] of Object.entries(place._fullLayout)) {
      if (!name.startsWith("yaxis") || axis.type !== "log" || axis.tickmode !== "array") continue;
      const ticks = hzTicks(...axis.range.map((value) => 10 ** value));
      if (`${ticks.tickvals}` !== `${axis.tickvals}`) Object.assign(change, { [`${name}.tickvals`]: ticks.tickvals, [`${name}.ticktext`]: ticks.ticktext });
    }
    if (Object.keys(change).length) await Plotly.relayout(place, change);
  }

  async drawAll() {
    if (!this.plots.sight) return; // not drawn yet: it will be as things are then
    await this.sight();
    await this.drawRest();
  }

  /** Apply the current colours of the page to text and lines synchronously, since printing does not wait; `width` in pixels, or the available width. */
  recolour(width, ink = theme()) {
    for (const { place } of Object.values(this.plots)) {
      const axes = Object.keys(place.layout).filter((name) => /^[xy]axis/.test(name));
      const change = Object.fromEntries(axes.flatMap((axis) => [[`${axis}.gridcolor`, ink("grid")], [`${axis}.linecolor`, ink("line")], [`${axis}.zerolinecolor`, ink("line")]]));
      Plotly.relayout(place, { "font.color": ink("ink"), ...change, ...(width ? { width: place.closest(".pair") ? width / 2 - 10 : width, autosize: false } : { width: null, autosize: true }) });
    }
  }

  /** Plots further down; the page stays responsive between them. */
  async drawRest() {
    for (const picture of [this.average, this.noise, this.lines, this.trees, this.levels, this.bands, this.training]) {
      await picture.call(this);
      await new Promise((done) => setTimeout(done));
    }
    this.mark();
  }

  /** Data URL of an image of values [rows, columns], lowest row first. */
  image(values, rows, columns, low, high, palette, source) {
    return this.painted(values, rows, columns, low, high, palette, source).toDataURL();
  }

  painted(values, rows, columns, low, high, palette, source) {
    const canvas = Object.assign(document.createElement("canvas"), { width: columns, height: rows });
    paint(canvas, values, [rows, columns], [low, high], palette, source);
    return canvas;
  }

  /** Preview of waveforms and spectrograms at their positions, while plotly's script is loaded, which takes a second or two. */
  sketch() {
    const place = document.getElementById("sight"), ink = theme(), width = place.clientWidth, narrow = width < NARROW, height = heightOf(narrow);
    const canvas = Object.assign(document.createElement("canvas"), { className: "sketch", width: width * devicePixelRatio, height: height * devicePixelRatio });
    canvas.setAttribute("aria-hidden", "true");
    const context = canvas.getContext("2d"), across = (share) => AROUND.l + share * (width - AROUND.l - AROUND.r), down = (share) => AROUND.t + (1 - share) * (height - AROUND.t - AROUND.b);
    context.scale(devicePixelRatio, devicePixelRatio);
    rooms(narrow).forEach((room, sound) => {
      const [left, right] = room.across.map(across), [low, high] = room.wave.map(down);
      context.fillStyle = context.strokeStyle = ink(NAMES[sound]);
      context.font = "bold 13px system-ui, sans-serif";
      context.fillText(NAMES[sound], left + 2, high - 5);
      this.sketchWave(context, this.outline(sound), left, right, (low + high) / 2, (low - high) / 2 / this.peak);
      this.sketchSpectrum(context, sound, left, right, ...room.spectrum.map(down));
    });
    place.style.minHeight = `${height}px`;
    place.append(canvas);
    this.legend();
  }

  sketchWave(context, { x0, dx, y }, left, right, middle, scale) {
    context.beginPath();
    y.forEach((value, i) => context.lineTo(left + ((x0 + i * dx) / this.duration) * (right - left), middle - value * scale));
    context.stroke();
  }

  sketchSpectrum(context, sound, left, right, low, high) {
    const { sounds, column_s, row_hz, low_hz, nyquist_hz } = this.data.spectrogram, [, rows, columns] = sounds[sound].shape;
    const levels = this.painted(channelOf(sounds[sound], this.channel, Math.max), rows, columns, this.top - RANGE_DB, this.top, this.palette.magma);
    const at = (hz) => low - (hz / nyquist_hz) * (low - high), top = at(low_hz + rows * row_hz);
    context.save();
    context.beginPath();
    context.rect(left, high, right - left, low - high);
    context.clip();
    context.drawImage(levels, left, top, ((columns * column_s) / this.duration) * (right - left), at(low_hz) - top);
    context.restore();
  }

  /** Waveforms above spectrograms, side by side or below each other. */
  async sight() {
    const ink = theme(), { spectrogram: spectra } = this.data, narrow = document.getElementById("sight").clientWidth < NARROW;
    const [, rows, columns] = spectra.sounds[0].shape, bottom_hz = spectra.low_hz, top_hz = bottom_hz + rows * spectra.row_hz;
    // Drawn on a logarithmic axis from the middle of the second row on, since the first contains 0 Hz.
    const low_hz = this.logarithmic ? Math.max(spectra.row_hz, 20) : 0, nyquist = spectra.nyquist_hz, unit = roundBelow(this.peak);
    const layout = { height: heightOf(narrow), margin: AROUND, images: [], annotations: [], showlegend: false }, traces = [], room = rooms(narrow);
    NAMES.forEach((name, place) => {
      const x = place ? `x${place + 1}` : "x", wave = `y${place ? 2 * place + 1 : ""}`, spectrum = `y${2 * place + 2}`;
      layout[`xaxis${place ? place + 1 : ""}`] = { domain: room[place].across, anchor: spectrum, title: narrow && place < 2 ? "" : "time (s)", range: this.view, showgrid: false, ...(place ? { matches: "x" } : {}) };
      layout[`yaxis${wave.slice(1)}`] = { domain: room[place].wave, anchor: x, title: place && !narrow ? "" : "full scale", showticklabels: narrow || !place, range: [-this.peak, this.peak], ...(narrow ? { tickvals: [-unit, unit] } : { nticks: 5 }), ...(place ? { matches: "y" } : {}), fixedrange: narrow };
      layout[`yaxis${spectrum.slice(1)}`] = {
        domain: room[place].spectrum, anchor: x, title: place && !narrow ? "" : "frequency (Hz)", showticklabels: narrow || !place, fixedrange: narrow, showgrid: false, zeroline: false,
        ...(this.logarithmic ? { ...LOGARITHMIC, range: [Math.log10(low_hz), Math.log10(nyquist)] } : { range: [0, nyquist] }), ...(place ? { matches: "y2" } : {}),
      };
      traces.push({ ...this.outline(place), type: "scatter", mode: "lines", line: { width: 1, color: ink(name) }, xaxis: x, yaxis: wave, hoverinfo: "skip" });
      traces.push({ x: [], y: [], type: "scatter", xaxis: x, yaxis: spectrum });
      const values = channelOf(spectra.sounds[place], this.channel, Math.max), even = this.logarithmic ? stretched(values, rows, columns, (at) => (low_hz * (top_hz / low_hz) ** at - bottom_hz) / spectra.row_hz) : values;
      const source = this.image(even, even.length / columns, columns, this.top - RANGE_DB, this.top, this.palette.magma);
      // Plotly positions an image by its corners in axis units, which are logarithms on a logarithmic axis.
      const edges = this.logarithmic ? [Math.log10(low_hz), Math.log10(top_hz)] : [bottom_hz, top_hz];
      layout.images.push({ source, xref: x, yref: spectrum, x: 0, y: edges[1], sizex: columns * spectra.column_s, sizey: edges[1] - edges[0], sizing: "stretch", layer: "below" });
      layout.annotations.push({ text: `<b>${name}</b>`, xref: `${x} domain`, yref: `${wave} domain`, x: 0, y: 1, xanchor: "left", yanchor: "bottom", showarrow: false, font: { color: ink(name), size: 13 } });
    });
    const onsets = this.data.onsets_s, marker = { symbol: "triangle-down", size: 7, color: "#888" };
    if (onsets.length) traces.push({ x: onsets, y: onsets.map(() => 0.93 * this.peak), type: "scatter", mode: "markers", marker, hovertemplate: "onset at %{x:.3f} s<extra></extra>" });
    const pitch = this.data.pitch, curve = { type: "scatter", mode: "lines", yaxis: "y2", connectgaps: false, line: { width: 1.5, color: PITCH }, hovertemplate: "pitch %{y:.1f} Hz at %{x:.3f} s<extra></extra>" };
    if (pitch) traces.push({ ...curve, x: Array.from(pitch.time_s), y: Array.from(pitch.f0_hz, (hz) => (hz > 0 ? hz : null)) });
    await this.draw("sight", traces, this.layout(layout), ["x", "x2", "x3"]);
    document.querySelector("#sight .sketch")?.remove();
    document.getElementById("sight").style.minHeight = "";
  }

  legend() {
    const context = document.getElementById("ramp").getContext("2d"), pixels = context.createImageData(256, 1);
    for (let i = 0; i < 256; i++) pixels.data.set([...this.palette.magma.subarray(3 * i, 3 * i + 3), 255], 4 * i);
    context.putImageData(pixels, 0, 0);
    document.getElementById("ramp-low").textContent = `${this.top - RANGE_DB} dB`;
    document.getElementById("ramp-high").textContent = `${this.top} dB (a sinusoid of full scale has 0)`;
  }

  /** A waveform over the visible range, from the decoded sound if available, so that zooming in shows the samples. */
  outline(place) {
    const { low, high } = this.data.waveform.sounds[place], [from, to] = this.view;
    const near = this.buffers && to - from < this.duration / 2 ? this.zoomed(place, from, to) : null;
    if (near) return near;
    const least = channelOf(low, this.channel, Math.min), most = channelOf(high, this.channel, Math.max), y = new Float32Array(2 * least.length);
    for (let i = 0; i < least.length; i++) { y[2 * i] = least[i]; y[2 * i + 1] = most[i]; }
    const dx = this.data.waveform.column_s / 2;
    return { x0: dx / 2, dx, y };
  }

  zoomed(place, from, to) {
    const { list, start_s, gains } = this.buffers, buffer = list[place], rate = buffer.sampleRate;
    const first = Math.max(0, Math.floor((from - start_s) * rate) - 1), last = Math.min(buffer.length, Math.ceil((to - start_s) * rate) + 2);
    if (from < start_s || to > start_s + buffer.duration + 1 / rate || last - first < 2) return null;
    const channels = this.channel < 0 ? [...Array(buffer.numberOfChannels).keys()] : [this.channel], gain = gains[place];
    const parts = channels.map((channel) => buffer.getChannelData(channel).subarray(first, last));
    const width = Math.max(1, Math.floor((last - first) / 1000));
    if (width === 1 && parts.length === 1) return { x0: start_s + first / rate, dx: 1 / rate, y: Float32Array.from(parts[0], (value) => value * gain) };
    const count = Math.ceil((last - first) / width), y = new Float32Array(2 * count);
    for (let i = 0; i < count; i++) {
      let low = Infinity, high = -Infinity;
      for (const part of parts) for (let n = i * width; n < Math.min(part.length, (i + 1) * width); n++) { low = Math.min(low, part[n]); high = Math.max(high, part[n]); }
      y[2 * i] = low * gain; y[2 * i + 1] = high * gain;
    }
    const dx = width / rate / 2;
    return { x0: start_s + first / rate + dx / 2, dx, y };
  }

  /** Long-term average spectra. */
  async average() {
    const ink = theme(), { hz, curves } = this.data.average, high = Math.max(...curves.original);
    // The original is below the others and wider, so that it is visible where they meet.
    const traces = Object.entries(curves).map(([name, y]) => ({ x: hz, y, name, type: "scatter", mode: "lines", line: { color: ink(name), width: name === "original" ? 3 : 1.5, dash: name === "waves" ? "dash" : "solid" }, hovertemplate: "%{y:.1f} dB at %{x:.0f} Hz<extra>%{fullData.name}</extra>" }));
    await this.draw("average", traces, this.layout({ height: 320, hovermode: "x", xaxis: { title: "frequency (Hz)", ...LOGARITHMIC, range: [Math.log10(hz[0]), Math.log10(hz.at(-1))] }, yaxis: { title: "level in band (dB)", range: [high - RANGE_DB, high + 5] } }, ink));
  }

  /** Levels of the noise. */
  async noise() {
    const found = this.data.noise;
    if (!found) return;
    const [, rows, columns] = found.level_db.shape, values = channelOf(found.level_db, this.channel, Math.max);
    const loudest = values.reduce((a, b) => Math.max(a, b), SILENT), high = loudest > SILENT ? loudest : 0, low = high - NOISE_RANGE_DB;
    const at = (share) => this.palette.magma.slice(3 * Math.round(255 * share), 3 * Math.round(255 * share) + 3).join(",");
    const colorscale = [...Array(6).keys()].map((i) => [i / 5, `rgb(${at(i / 5)})`]);
    const z = Array.from({ length: rows }, (_, row) => Array.from(values.subarray(row * columns, (row + 1) * columns), (level) => (level === SILENT ? null : level)));
    const trace = {
      type: "heatmap", z, x0: found.start_s + found.column_s / 2, dx: found.column_s, y0: 0, dy: 1, zmin: low, zmax: high, colorscale, text: found.hz.map((hz) => Array(columns).fill(hz)),
      hovertemplate: "%{z} dB around %{text} Hz<br>at %{x:.2f} s<extra></extra>", hoverongaps: false, colorbar: { title: { text: "dB", side: "top" }, thickness: 10, outlinewidth: 0, len: 0.9 },
    };
    const label = (hz) => (hz < 1000 ? `${hz}` : `${hz / 1000}k`);
    // No noise is at the dark end of the colour map on any background.
    await this.draw("noise", [trace], this.layout({ height: 340, plot_bgcolor: `rgb(${at(0)})`, xaxis: { title: "time (s)", range: this.view, showgrid: false, zeroline: false }, yaxis: { title: "frequency (Hz)", range: [0, rows - 1], tickvals: found.ticks.rows, ticktext: found.ticks.hz.map(label), showgrid: false, zeroline: false } }), ["x"]);
  }

  async lines() {
    const found = this.data.lines;
    if (!found?.n_partials) return;
    const classes = 12, low = Math.max(found.level_db[0], found.level_db.at(-1) - 80), high = found.level_db.at(-1) ?? 0;
    const shades = Array.from({ length: classes }, () => ({ x: [], y: [] })), points = { x: [], y: [], customdata: [] };
    found.level_db.forEach((level, i) => {
      if (this.channel >= 0 && found.signal[i] !== this.channel) return;
      const shade = shades[Math.min(classes - 1, Math.max(0, Math.floor((classes * (level - low)) / (high - low || 1))))];
      const [from, middle, to, hz] = [found.start_s[i], found.middle_s[i], found.end_s[i], found.frequency_hz[i]], label = found.track[i] < 0 ? "" : `track ${found.track[i]}: `;
      // A logarithmic axis cannot show 0 Hz; the hover text has the true frequency.
      const heights = [found.start_hz[i], hz, found.end_hz[i]].map((one) => Math.max(one, LEAST_HZ));
      shade.x.push(from, middle, to, null);
      shade.y.push(...heights, null);
      for (let part = 0; part <= POINTS; part++) {
        const [half, share] = part < POINTS / 2 ? [0, (2 * part) / POINTS] : [1, (2 * part) / POINTS - 1];
        points.x.push(half ? middle + share * (to - middle) : from + share * (middle - from)); points.y.push(heights[half] + share * (heights[half + 1] - heights[half])); points.customdata.push([hz, level, label]);
      }
    });
    const ink = theme(), dark = matchMedia("(prefers-color-scheme: dark)").matches;
    // The faint end of the colour map is close to the background: dark on dark, light on light.
    const colour = (i) => { const at = 3 * Math.round((dark ? 40 + (i * 215) / (classes - 1) : 215 - (i * 215) / (classes - 1))); return `rgb(${this.palette.cividis.slice(at, at + 3).join(",")})`; };
    const traces = shades.map((shade, i) => ({ ...shade, type: "scatter", mode: "lines", line: { width: 1 + (2 * i) / classes, color: colour(i), simplify: false }, hoverinfo: "skip", showlegend: false }));
    // Invisible points for hovering: drawing thousands of them takes plotly longer than anything else.
    traces.push({ ...points, type: "scatter", mode: "none", showlegend: false, hovertemplate: "%{customdata[2]}%{customdata[0]:.1f} Hz, %{customdata[1]:.1f} dB<br>at %{x:.3f} s<extra></extra>" });
    traces.push(scaleOf([...Array(6).keys()].map((i) => [i / 5, colour((i * (classes - 1)) / 5)]), low, high, "dB"));
    const axes = { xaxis: { title: "time (s)", range: this.view, showgrid: false }, yaxis: { title: "frequency (Hz)", showgrid: false, ...LOGARITHMIC } };
    await this.draw("lines", traces, this.layout({ height: 440, images: [this.backdrop(dark)], ...axes }, ink), ["x"]);
    const drawn = found.level_db.length, all = found.n_partials, what = "A line is a track: a partial followed over time, over the spectrogram of the original in grey.";
    document.getElementById("lines-note").textContent = drawn < all ? `The ${drawn.toLocaleString("en")} partials of the strongest tracks, of ${all.toLocaleString("en")}. ${what}` : what;
  }

  /** The spectrogram of the original in grey, near the colour of the page, for a logarithmic axis of frequency. */
  backdrop(dark) {
    const { sounds, column_s, row_hz, low_hz: bottom_hz } = this.data.spectrogram, [, rows, columns] = sounds[0].shape;
    const low_hz = Math.max(row_hz, 20), top_hz = bottom_hz + rows * row_hz, [from, to] = dark ? [24, 110] : [255, 165];
    const grey = Uint8Array.from({ length: 768 }, (_, i) => from + ((to - from) * Math.floor(i / 3)) / 255);
    const values = stretched(channelOf(sounds[0], this.channel, Math.max), rows, columns, (at) => (low_hz * (top_hz / low_hz) ** at - bottom_hz) / row_hz);
    const source = this.image(values, values.length / columns, columns, this.top - RANGE_DB, this.top, grey), [low, high] = [low_hz, top_hz].map(Math.log10);
    return { source, xref: "x", yref: "y", x: 0, y: high, sizex: columns * column_s, sizey: high - low, sizing: "stretch", layer: "below" };
  }

  async trees() {
    for (const [place, tree] of this.data.trees.entries()) {
      const [all, one] = [`tree-${place}`, `loudest-${place}`];
      if (!document.getElementById(all)) {
        const box = document.getElementById("trees");
        for (const [id, label, note] of [
          [all, "Levels of the tree over time, coloured by the amplitude of the open rope", "Rows are levels, labelled by the frequency of their waves, the longest at the top; the colour is the amplitude of the open rope, black if it is silent."],
          [one, "The loudest tree: amplitudes of its ropes, and its gates", "The loudest tree: amplitudes of the open ropes (top), and gates (bottom), bright where open for the rope with bit 0, dark where open for its opposite. A column read downwards is the address."],
        ]) {
          box.insertAdjacentHTML("beforeend", `<div id="${id}" class="plot" role="img" aria-label="${label}"></div><p class="note">${note}</p>`);
        }
      }
      const loudest = tree.all.spoken_db.reduce((a, b) => Math.max(a, b), SILENT), high = loudest > SILENT ? loudest : 0, low = high - 70, depth = tree.frequency_hz.length;
      const labels = tree.frequency_hz.map((hz, level) => `${level + 1}: ${hz < 1000 ? hz.toPrecision(3) : `${(hz / 1000).toPrecision(3)}k`} Hz`);
      const levels = { range: [depth + 0.5, 0.5], tickvals: labels.map((_, level) => level + 1), ticktext: labels, showgrid: false, zeroline: false };
      const picture = (part, values, bottom, top, palette, yref) => ({
        source: this.image(values, depth, values.shape[1], bottom, top, palette, (row) => depth - 1 - row), xref: "x", yref, x: part.start_s, sizex: part.end_s - part.start_s,
        // The axis counts levels downwards.
        y: 0.5, sizey: depth, sizing: "stretch", layer: "below",
      });
      const coloursOf = (palette) => [...Array(6).keys()].map((i) => [i / 5, `rgb(${palette.slice(153 * i, 153 * i + 3).join(",")})`]);
      // Silence is at the dark end of the colour map on any background.
      const ground = { plot_bgcolor: coloursOf(this.palette.magma)[0][1], margin: { l: 90, r: 12, t: 8, b: 44 } };
      const levelScale = (more) => scaleOf(coloursOf(this.palette.magma), low, high, "dB", more), gateScale = (more) => ({ ...scaleOf(coloursOf(this.palette.cividis), 0, 100, "open %", more), yaxis: "y2" });
      await this.draw(all, [levelScale()], this.layout({ ...ground, height: 110 + 18 * depth, xaxis: { title: "time (s)", range: this.view, showgrid: false }, yaxis: levels, images: [picture(tree.all, tree.all.spoken_db, low, high, this.palette.magma, "y")] }), ["x"]);
      await this.draw(one, [levelScale({ len: 0.46, y: 0.77 }), gateScale({ len: 0.46, y: 0.23 })], this.layout({
        ...ground, height: 110 + 36 * depth, xaxis: { title: "time (s)", range: [tree.loudest.start_s, tree.loudest.end_s], anchor: "y2", showgrid: false },
        yaxis: { ...levels, domain: [0.54, 1] }, yaxis2: { ...levels, domain: [0, 0.46] },
        images: [picture(tree.loudest, tree.loudest.spoken_db, low, high, this.palette.magma, "y"), picture(tree.loudest, tree.loudest.gates, 0, 100, this.palette.cividis, "y2")],
      }));
    }
  }

  async levels() {
    const ink = theme(), { column_s: dx, sounds } = this.data.levels;
    const traces = sounds.map((y, place) => { const name = NAMES[2 * place]; return { x0: dx / 2, dx, y, name, type: "scatter", mode: y.length > 1 ? "lines" : "markers", line: { width: 1.5, color: ink(name) }, hovertemplate: "%{y:.1f} dB at %{x:.3f} s<extra>%{fullData.name}</extra>" }; });
    const high = Math.max(...sounds[0].filter(Number.isFinite), -100);
    await this.draw("levels", traces, this.layout({ height: 300, xaxis: { title: "time (s)", range: this.view }, yaxis: { title: "level (dB, RMS)", range: [Math.max(high - 100, Math.min(...sounds[1], high - 20) - 5), high + 5] } }, ink), ["x"]);
  }

  async bands() {
    const ink = theme(), bands = this.data.bands, label = (hz) => (hz < 1000 ? `${Math.round(hz)}` : `${+(hz / 1000).toPrecision(2)}k`);
    const x = bands.map((band) => label(Math.sqrt(band.low_hz * band.high_hz)));
    const trace = { type: "bar", x, y: bands.map((band) => band.snr_db), marker: { color: bands.map((band) => ink(band.snr_db < 0 ? "residual" : "original")) }, text: bands.map((band) => (band.snr_db === null ? "" : `${Math.round(band.snr_db) || 0}`)), textposition: "outside", cliponaxis: false,
      customdata: bands.map((band) => `${label(band.low_hz)} to ${label(band.high_hz)} Hz: ${band.snr_db === null ? band.reason : `${band.snr_db.toFixed(1)} dB`}`), hovertemplate: "%{customdata}<extra></extra>" };
    // The axis spans at least ten decibels.
    const known = bands.map((band) => band.snr_db ?? 0), low = Math.min(0, ...known), high = Math.max(10, ...known);
    // Room for labels below the lowest bar and above the highest.
    const range = [low - (low < 0 ? 0.12 : 0.04) * (high - low), high + 0.12 * (high - low)];
    const annotations = bands.every((band) => band.snr_db === null) ? [{ text: "no SNR in any band; see the table for the reasons", xref: "paper", yref: "paper", x: 0.5, y: 0.5, showarrow: false }] : [];
    await this.draw("bands", [trace], this.layout({ height: 300, annotations, xaxis: { title: "octave band around (Hz)", type: "category" }, yaxis: { title: "SNR (dB)", range } }, ink));
  }

  /** SNR, losses and gradient norms over all steps. */
  async training() {
    const ink = theme(), { panels, curves } = this.data.training, shown = panels.filter((panel) => curves.some((one) => one.panel === panel)), count = shown.length;
    if (!curves.some((one) => one.steps.some((step) => step > 0)) || !curves.some((one) => one.values.some((value) => value > 0))) {
      document.getElementById("training").hidden = true;
      document.getElementById("training-note").hidden = false;
      return;
    }
    const named = (panel) => curves.filter((one) => one.panel === panel).map((one) => one.name);
    // A single curve is named by its axis.
    const titleOf = (panel) => (panel !== panels[0] && named(panel).length === 1 ? `${panel} (${named(panel)[0]})` : panel);
    const layout = { height: 120 + 190 * count, xaxis: { title: "step", anchor: `y${count > 1 ? count : ""}`, zeroline: false } };
    shown.forEach((panel, place) => {
      const top = 1 - place / count;
      layout[`yaxis${place ? place + 1 : ""}`] = { title: titleOf(panel), ...(panel === panels[0] ? {} : { type: "log", nticks: 3 }), domain: [top - 1 / count + 0.04, top], exponentformat: "power" };
    });
    const plain = [ink("original"), ink("residual"), ink("resynthesis"), ink("playhead")], dashes = ["solid", "dash", "dot", "dashdot"];
    const traces = shown.flatMap((panel, axis) => curves.filter((one) => one.panel === panel).map((one, place, { length }) => {
      // More curves than named colours are levels, whose order is shown by shades.
      const shade = 3 * Math.round(20 + (200 * place) / Math.max(1, length - 1)), color = length > plain.length ? `rgb(${this.palette.cividis.slice(shade, shade + 3).join(",")})` : plain[place];
      const name = panel === panels[0] ? one.name : `${panel.split(" ")[0]}: ${one.name}`;
      return { x: one.steps, y: one.values, name, showlegend: length > 1, type: "scatter", mode: "lines+markers", marker: { size: 4 }, line: { color, dash: dashes[place % 4], width: 1.5 }, yaxis: `y${axis ? axis + 1 : ""}`, hovertemplate: "step %{x}: %{y:.4g}<extra>%{fullData.name}</extra>" };
    }));
    await this.draw("training", traces, this.layout(layout, ink));
  }

  /** Apply the time range of a zoomed plot to all others. */
  async follow(id, change) {
    if (this.following) return;
    if (Object.keys(change).some((name) => /^yaxis\d*\.(range|autorange)/.test(name))) await this.refine(this.plots[id].place);
    const axis = this.plots[id].place._fullLayout.xaxis, range = axis.range.map(Number);
    const moved = Object.keys(change).some((name) => /^xaxis\d*\.(range|autorange)/.test(name));
    if (!moved) return;
    await this.show(Object.keys(change).some((name) => /autorange/.test(name)) ? this.full : range);
  }

  /** Show a range of time in all plots. */
  async show([from, to]) {
    if (!this.plots.sight) return;
    const least = 0.0005, width = Math.min(Math.max(to - from, least), this.full[1] - this.full[0]), start = Math.min(Math.max(from, 0), this.full[1] - width);
    this.view = [start, start + width];
    this.following = true;
    for (const { place, time } of Object.values(this.plots)) if (time.length) await Plotly.relayout(place, { "xaxis.range": [...this.view] });
    this.following = false;
    await this.reshape();
    this.mark();
  }

  /** Redraw the waveforms for the visible range. */
  async reshape() {
    for (const place of NAMES.keys()) {
      const { x0, dx, y } = this.outline(place);
      await Plotly.restyle("sight", { x0: [x0], dx: [dx], y: [y] }, [2 * place]);
    }
  }

  /** Horizontal position of a time within a plot in pixels, or null if it is not visible. */
  pixels(plot, name, seconds) {
    const axis = plot.place._fullLayout?.[name.replace("x", "xaxis")];
    if (!axis) return null;
    const at = axis.l2p(seconds);
    return at < -0.5 || at > axis._length + 0.5 ? null : axis._offset + at;
  }

  /** Draw the playhead and the looped section in all plots over time. */
  mark(seconds = this.seconds, loop = this.loop) {
    Object.assign(this, { seconds, loop });
    for (const plot of Object.values(this.plots)) {
      plot.time.forEach((name, i) => {
        const { head, stretch } = this.marks(plot, i), at = this.pixels(plot, name, seconds), axis = plot.place._fullLayout[name.replace("x", "xaxis")];
        const [top, bottom] = this.extent(plot, name, plot.place._fullLayout._size), height = { top: `${top}px`, height: `${bottom - top}px` };
        head.hidden = at === null;
        Object.assign(head.style, height, { left: `${at ?? 0}px` });
        const [from, to] = (loop ?? [0, 0]).map((one) => axis._offset + Math.min(axis._length, Math.max(0, axis.l2p(this.start_s + one))));
        stretch.hidden = to - from < 1;
        Object.assign(stretch.style, height, { left: `${from}px`, width: `${to - from}px` });
      });
    }
  }

  /** The elements of the playhead and of the looped section of an axis, created when first used. */
  marks(plot, i) {
    const made = (className) => plot.place.appendChild(Object.assign(document.createElement("div"), { className }));
    plot.marks ||= [];
    return (plot.marks[i] ||= { stretch: made("loop"), head: made("playhead") });
  }

  /** Top and bottom in pixels of the plots above an axis. */
  extent(plot, name, size) {
    const over = Object.values(plot.place._fullLayout._plots).filter((one) => one.xaxis._id === name).map((one) => one.yaxis);
    return [Math.min(...over.map((axis) => axis._offset), size.t + size.h), Math.max(...over.map((axis) => axis._offset + axis._length), size.t)];
  }

  /** A click seeks to its time; over a spectrogram the levels of all three are shown. */
  point(place, id) {
    let pressed = null;
    const find = (event) => {
      const box = place.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
      for (const plot of Object.values(place._fullLayout._plots)) {
        const { xaxis, yaxis } = plot, across = x - xaxis._offset, down = y - yaxis._offset;
        if (across >= 0 && across <= xaxis._length && down >= 0 && down <= yaxis._length) return { seconds: xaxis.p2l(across), height: yaxis.p2d(down), xaxis: xaxis._id, yaxis: yaxis._id };
      }
      return null;
    };
    place.addEventListener("pointerdown", (event) => { pressed = [event.clientX, event.clientY]; }, true);
    // Plotly covers the page while a button is down, so the plot does not get the end of a click.
    window.addEventListener("pointerup", (event) => {
      const still = pressed && Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) < 4, found = still && find(event);
      pressed = null;
      if (found) this.seek(found.seconds);
    }, true);
    if (id === "sight") place.addEventListener("pointermove", (event) => { const found = find(event); if (found && +found.yaxis.slice(1) % 2 === 0) this.read(found.seconds, found.height); }, true);
  }

  /** Show the levels at the loudest frequency of the original at a time, for use without a pointer. */
  readLoudest(seconds) {
    const { sounds, column_s, row_hz, low_hz } = this.data.spectrogram, [, rows, columns] = sounds[0].shape;
    const levels = channelOf(sounds[0], this.channel, Math.max), column = Math.min(columns - 1, Math.floor(seconds / column_s));
    let loudest = 0;
    for (let row = 1; row < rows; row++) if (levels[row * columns + column] > levels[loudest * columns + column]) loudest = row;
    this.read(Math.min(seconds, (column + 0.5) * column_s), low_hz + (loudest + 0.5) * row_hz);
  }

  read(seconds, hz) {
    const { sounds, column_s, row_hz, low_hz } = this.data.spectrogram, [, rows, columns] = sounds[0].shape;
    const row = Math.floor((hz - low_hz) / row_hz), column = Math.floor(seconds / column_s);
    if (row < 0 || row >= rows || column < 0 || column >= columns) return;
    const read = sounds.map((sound, place) => `${NAMES[place]} ${channelOf(sound, this.channel, Math.max)[row * columns + column]} dB`);
    document.getElementById("readout").textContent = `${seconds.toFixed(3)} s, ${hz.toFixed(0)} Hz: ${read.join(", ")}`;
    const plot = this.plots.sight;
    if (plot) NAMES.forEach((_, place) => {
      plot.crosses ||= [];
      plot.crosses[place] ||= plot.place.appendChild(Object.assign(document.createElement("div"), { className: "cross" }));
      const x = this.pixels(plot, place ? `x${place + 1}` : "x", seconds), axis = plot.place._fullLayout[`yaxis${2 * place + 2}`];
      plot.crosses[place].hidden = x === null;
      Object.assign(plot.crosses[place].style, { left: `${x}px`, top: `${axis._offset + axis.d2p(hz)}px` });
    });
  }
}

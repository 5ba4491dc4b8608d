"use strict";
/* Arrays as `array` of page.py writes them, and images of them. */

const SILENT = -128;
const FORMATS = { int8: Int8Array, int32: Int32Array, float32: Float32Array };

function bytesOf(text) {
  const letters = atob(text), bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes.buffer;
}

/** Inverse of `packed` in page.py. */
async function unpack(text) {
  return new Response(new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("gzip")));
}

/** Reviver for JSON.parse: converts arrays to typed arrays with a shape. */
function revive(key, value) {
  if (value === null || typeof value !== "object" || value.base64 === undefined) return value;
  return Object.assign(new FORMATS[value.dtype](bytesOf(value.base64)), { shape: value.shape });
}

/** Colour map of 256 colours, three bytes each. */
function paletteOf(hex) { return Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16)); }

/** Paint values [rows, columns], lowest row first, into a canvas; `source` maps rows of the canvas to rows of the values. */
function paint(canvas, values, [rows, columns], [low, high], palette, source = (row) => row) {
  const context = canvas.getContext("2d"), pixels = context.createImageData(columns, rows);
  for (let row = 0; row < rows; row++) {
    const from = source(row) * columns;
    for (let column = 0; column < columns; column++) {
      const value = values[from + column], at = 4 * ((rows - 1 - row) * columns + column);
      if (value === SILENT) continue;
      const shade = 3 * Math.round(255 * Math.min(1, Math.max(0, (value - low) / (high - low))));
      pixels.data[at] = palette[shade]; pixels.data[at + 1] = palette[shade + 1]; pixels.data[at + 2] = palette[shade + 2]; pixels.data[at + 3] = 255;
    }
  }
  context.putImageData(pixels, 0, 0);
}

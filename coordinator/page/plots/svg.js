// What all plots share: escaping, scales, ticks, names that fit. Pure functions; nothing here knows of a document, so
// the same files draw on the page, in the one-file report and in tests. Modules in this folder import and export on
// lines of their own and share one space of names: `hone report` writes them into its file one after the other.

const kEntities = {'&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;'};

// Text without what no document may hold (control characters, halves of pairs) and without what turns the direction of
// reading.
export function plainText(value) {
  return String(value)
    .replace(/[^\t\n\r\u0020-\u007e\u00a0-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '\ufffd')
    .replace(/[\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '\ufffd');
}

// The one way in which text gets into markup: between tags and within quoted attributes.
export function escapeText(value) {
  return plainText(value).replace(/[&<>"']/g, (mark) => kEntities[mark]);
}

export function isNumber(value) {
  return typeof value === 'number' && Number.isFinite(value);
}

// A coordinate: a tenth of a pixel is enough.
export function at(value) {
  return String(Math.round(value * 10) / 10);
}

// [smallest, largest] of the numbers, or null where there is none.
export function extentOf(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (!isNumber(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high] : null;
}

// Room around a range. One value alone, zero too, gets a range around it.
export function padRange(range, share) {
  const [low, high] = range;
  const room = high > low ? (high - low) * share : Math.abs(high) * 0.2 || 1;
  return [low - room, high + room];
}

// Round ticks within [low, high].
export function ticksOf(low, high, wanted) {
  const rough = (high - low) / Math.max(1, wanted);
  if (!(rough > 0)) return {step: 1, ticks: [low]};
  const power = 10 ** Math.floor(Math.log10(rough));
  const digit = rough / power;
  const step = power * (digit < 1.5 ? 1 : digit < 3.5 ? 2 : digit < 7.5 ? 5 : 10);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; ++k) ticks.push(k === 0 ? 0 : k * step);
  return {step, ticks};
}

export function tickText(value, step) {
  const size = Math.max(Math.abs(value), step);
  if (size >= 1e6 || (step < 1e-5 && step > 0)) return String(Number(value.toPrecision(4)));
  const digits = Math.min(6, Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
  return value.toFixed(digits);
}

// A scale from [low, high] to [from, to]; what lies beyond ends at the edge.
export function scaleOf(low, high, from, to) {
  const span = high - low || 1;
  const scale = (value) => from + ((Math.min(high, Math.max(low, value)) - low) / span) * (to - from);
  return Object.assign(scale, {low, high, from, to});
}

// A name in at most `most` characters, its middle left out.
export function shortName(name, most) {
  const text = plainText(name);
  if (text.length <= most) return text;
  if (most < 4) return text.slice(0, most);
  const head = Math.ceil((most - 1) / 2);
  return text.slice(0, head) + '…' + text.slice(text.length - (most - 1 - head));
}

// Each name in at most `most` characters; names that differ stay different, however much they have in common.
export function shortNames(names, most) {
  const taken = new Map();
  const result = new Map();
  for (const name of names) {
    if (result.has(name)) continue;
    let short = shortName(name, most);
    for (let count = 2; taken.has(short); ++count) {
      const mark = `#${count}`;
      short = shortName(name, Math.max(1, most - mark.length)) + mark;
    }
    taken.set(short, name);
    result.set(name, short);
  }
  return names.map((name) => result.get(name));
}

export function openSvg(width, height, label, kind) {
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" class="plot ${kind}" viewBox="0 0 ${at(width)} ${at(height)}" ` +
    `width="${at(width)}" height="${at(height)}" role="img" aria-label="${escapeText(label)}">`
  );
}

// What a browser shows when the pointer rests.
export function hoverText(text) {
  return `<title>${escapeText(text)}</title>`;
}

// class is a word of ours, never text of a user.
export function textAt(x, y, text, look = '', anchor = '') {
  const end = anchor ? ` text-anchor="${anchor}"` : '';
  return `<text class="${look}" x="${at(x)}" y="${at(y)}"${end}>${escapeText(text)}</text>`;
}

export function lineAt(x1, y1, x2, y2, look) {
  return `<line class="${look}" x1="${at(x1)}" y1="${at(y1)}" x2="${at(x2)}" y2="${at(y2)}"/>`;
}

// Many round dots as one shape: one element however many trials there are.
export function dotsAt(places, look) {
  if (!places.length) return '';
  return `<path class="${look}" d="${places.map(([x, y]) => `M${at(x)} ${at(y)}h0`).join('')}"/>`;
}

export function crossesAt(places, look, size = 2.6) {
  if (!places.length) return '';
  const arm = (x, y) =>
    `M${at(x - size)} ${at(y - size)}l${at(2 * size)} ${at(2 * size)}m0 ${at(-2 * size)}l${at(-2 * size)} ` +
    `${at(2 * size)}`;
  return `<path class="${look}" d="${places.map(([x, y]) => arm(x, y)).join('')}"/>`;
}

// A picture that has nothing to show says why.
export function emptyPlot(width, height, kind, reason) {
  const low = Math.min(height, 90);
  return openSvg(width, low, reason, kind) + textAt(width / 2, low / 2, reason, 'soft', 'middle') + '</svg>';
}

// Grid and labels of a vertical axis.
export function axisY(scale, left, right, text = tickText) {
  const {step, ticks} = ticksOf(scale.low, scale.high, Math.max(2, Math.abs(scale.from - scale.to) / 45));
  return ticks
    .map((tick) => {
      const y = scale(tick);
      return lineAt(left, y, right, y, 'grid') + textAt(left - 6, y + 4, text(tick, step), 'tick', 'end');
    })
    .join('');
}

export function axisX(scale, top, bottom, text = tickText) {
  const {step, ticks} = ticksOf(scale.low, scale.high, Math.max(2, Math.abs(scale.to - scale.from) / 75));
  return ticks
    .map((tick) => {
      const x = scale(tick);
      return lineAt(x, top, x, bottom, 'grid') + textAt(x, bottom + 16, text(tick, step), 'tick', 'middle');
    })
    .join('');
}

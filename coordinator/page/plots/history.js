// Nights of one series: each night's effect against what was accepted, with its interval; the band within which nothing
// is called a change; where the level changed; what people noted. Shape and colour tell the verdict: a filled triangle
// is a regression or an improvement.
import {at, axisY, emptyPlot, escapeText, isNumber, lineAt, openSvg, scaleOf, textAt} from './svg.js';
import {plural} from './format.js';

const kMostNights = 365;

// A share of what was accepted, or a difference from it where the metric is told so.
function effectText(value, difference) {
  return (value > 0 ? '+' : '') + (difference ? String(Number(value.toPrecision(3))) : `${(value * 100).toFixed(1)} %`);
}

function nightMark(point, x, y) {
  const look = `night night-${/^[a-z]+$/.test(point.verdict ?? '') ? point.verdict : 'unknown'}`;
  if (point.verdict === 'regression') return `<path class="${look}" d="M${at(x - 5)} ${at(y + 4)}h10l-5 -9z"/>`;
  if (point.verdict === 'improvement') return `<path class="${look}" d="M${at(x - 5)} ${at(y - 4)}h10l-5 9z"/>`;
  return `<circle class="${look}" cx="${at(x)}" cy="${at(y)}" r="3.2"/>`;
}

// Notes and changes stand between the nights before and after them.
function markAt(x, top, bottom, look, sign, title) {
  return (
    `<g><title>${escapeText(title)}</title>${lineAt(x, top, x, bottom, look)}` +
    `${textAt(x, top - 3, sign, look + '-word', 'middle')}</g>`
  );
}

// points: {night, time, effect, low, high, verdict}, the oldest first; options: width, height, threshold, difference,
// changes (indices), notes ({time, text, author}).
export function historyPlot(points, options) {
  const {width, height} = options;
  if (!points.length) return emptyPlot(width, height, 'history', 'No night has measured this yet');
  const skipped = Math.max(0, points.length - kMostNights);
  const shown = points.slice(skipped);
  const threshold = options.threshold ?? 0.02;
  const effect = (value) => effectText(value, options.difference);
  const frame = {left: 58, top: 24, right: width - 12, bottom: height - 26};
  let low = -2 * threshold;
  let high = 2 * threshold;
  for (const point of shown) {
    if (!isNumber(point.effect)) continue;
    low = Math.min(low, point.effect, Math.max(point.low ?? point.effect, point.effect - 4 * threshold));
    high = Math.max(high, point.effect, Math.min(point.high ?? point.effect, point.effect + 4 * threshold));
  }
  const y = scaleOf(low, high, frame.bottom, frame.top);
  const step = (frame.right - frame.left) / shown.length;
  const x = (i) => frame.left + step * (i + 0.5);
  const marks = shown
    .map((point, i) => {
      if (!isNumber(point.effect)) {
        return (
          `<g><title>${escapeText(`${point.night}: nothing measured`)}</title>` +
          `${textAt(x(i), frame.bottom - 3, '?', 'tick', 'middle')}</g>`
        );
      }
      const whisker =
        isNumber(point.low) && isNumber(point.high) ? lineAt(x(i), y(point.low), x(i), y(point.high), 'whisker') : '';
      return (
        `<g><title>${escapeText(`${point.night}: ${effect(point.effect)}, ${point.verdict}`)}</title>` +
        `${whisker}${nightMark(point, x(i), y(point.effect))}</g>`
      );
    })
    .join('');
  const changes = (options.changes ?? [])
    .filter((i) => i >= skipped)
    .map((i) =>
      markAt(
        x(i - skipped) - step / 2,
        frame.top,
        frame.bottom,
        'change',
        '▼',
        `the level changed before ${points[i]?.night ?? 'this night'}`,
      ),
    )
    .join('');
  const notes = (options.notes ?? [])
    .map((note) => {
      const after = shown.findIndex((point) => point.time >= note.time);
      const place = after < 0 ? frame.right : x(after) - step / 2;
      return markAt(
        place,
        frame.top,
        frame.bottom,
        'note',
        '✎',
        note.author ? `${note.text} (${note.author})` : note.text,
      );
    })
    .join('');
  const last = shown[shown.length - 1];
  const said =
    `${plural(points.length, 'night')}, last ` +
    `${isNumber(last.effect) ? `${effect(last.effect)} ${last.verdict}` : 'without figures'}`;
  return (
    openSvg(width, height, options.label ? `${options.label}: ${said}` : said, 'history') +
    `<rect class="equal-band" x="${at(frame.left)}" y="${at(y(threshold))}" width="` +
    `${at(frame.right - frame.left)}" height="${at(y(-threshold) - y(threshold))}"/>` +
    axisY(y, frame.left, frame.right, effect) +
    lineAt(frame.left, y(0), frame.right, y(0), 'axis') +
    changes +
    notes +
    marks +
    textAt(frame.left, height - 6, shown[0].night, 'soft') +
    (shown.length > 1 ? textAt(frame.right, height - 6, last.night, 'soft', 'end') : '') +
    '</svg>'
  );
}

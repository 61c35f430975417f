// Who did what when: a row a worker, a bar a piece of work. Colour and height tell its kind, a hatch that it came to
// nothing; the gaps are idle time.
import {at, axisX, emptyPlot, escapeText, extentOf, openSvg, scaleOf, shortNames, textAt, tickText} from './svg.js';
import {durationText, plural, shareText} from './format.js';

const kWorkerRow = 30;
const kMostTitles = 400;
const kSpanKinds = [
  ['build', 'building'],
  ['measure', 'measuring'],
  ['final', 'measuring again'],
  ['other', 'other work'],
];

// Time in which at least one piece was under way, in milliseconds.
export function busyTime(spans) {
  let busy = 0;
  let end = -Infinity;
  for (const span of [...spans].sort((a, b) => a.start - b.start)) {
    busy += Math.max(0, span.end - Math.max(span.start, end));
    end = Math.max(end, span.end);
  }
  return busy;
}

function spanKind(span) {
  return kSpanKinds.some(([kind]) => kind === span.kind) ? span.kind : 'other';
}

function boxOf(span, x, y) {
  const left = x(span.start);
  const inset = spanKind(span) === 'build' ? 4 : 0;
  return {left, top: y + inset, wide: Math.max(1, x(span.end) - left), high: 20 - 2 * inset};
}

// spans: {worker, kind: build|measure|final, start, end (milliseconds), failed, title}. options: width, now.
export function timeline(spans, options) {
  const {width} = options;
  if (!spans.length) return emptyPlot(width, 90, 'timeline', 'No work has begun yet');
  const workers = [...new Set(spans.map((span) => span.worker))].sort();
  const range = extentOf(spans.flatMap((span) => [span.start, span.end]));
  if (range[0] === range[1]) range[1] += 1000;
  const left = Math.min(190, Math.max(96, width * 0.2));
  const height = workers.length * kWorkerRow + 66;
  const bottom = height - 36;
  const x = scaleOf(range[0], range[1], left, width - 14);
  const seconds = scaleOf(0, (range[1] - range[0]) / 1000, left, width - 14);
  const names = shortNames(workers, Math.floor((left - 44) / 6.6));
  const rowOf = new Map(workers.map((worker, i) => [worker, 28 + i * kWorkerRow]));
  const titled = spans.length <= kMostTitles;
  const paths = new Map();
  let boxes = '';
  for (const span of spans) {
    const box = boxOf(span, x, rowOf.get(span.worker));
    const looks = [`work-${spanKind(span)}`, ...(span.failed ? ['work-failed'] : [])];
    const shape = `M${at(box.left)} ${at(box.top)}h${at(box.wide)}v${at(box.high)}h${at(-box.wide)}z`;
    if (titled) {
      boxes +=
        `<g><title>${escapeText(span.title ?? span.kind)}</title>` +
        `${looks.map((look) => `<path class="${look}" d="${shape}"/>`).join('')}</g>`;
    } else {
      for (const look of looks) paths.set(look, (paths.get(look) ?? '') + shape);
    }
  }
  for (const [look, shape] of paths) boxes += `<path class="${look}" d="${shape}"/>`;
  const shares = workers.map(
    (worker) => busyTime(spans.filter((span) => span.worker === worker)) / (range[1] - range[0]),
  );
  const labels = workers
    .map((worker, i) => {
      const y = rowOf.get(worker) + 14;
      return (
        `<g><title>${escapeText(`${worker}: busy ${shareText(shares[i])}`)}</title>` +
        `${textAt(left - 46, y, names[i], 'tick', 'end')}` +
        `${textAt(left - 8, y, shareText(shares[i]), 'soft', 'end')}</g>`
      );
    })
    .join('');
  let keyX = left;
  const key = kSpanKinds
    .filter(([kind]) => spans.some((span) => spanKind(span) === kind))
    .concat(spans.some((span) => span.failed) ? [['failed', 'came to nothing']] : [])
    .map(([kind, text]) => {
      const item =
        `<path class="${kind === 'failed' ? 'work-failed' : `work-${kind}`}" d="M${at(keyX)} ` +
        `6h10v10h-10z"/>${textAt(keyX + 14, 15, text, 'key')}`;
      keyX += text.length * 6.4 + 32;
      return item;
    })
    .join('');
  return (
    openSvg(
      width,
      height,
      `Work of ${plural(workers.length, 'worker')} over ${durationText((range[1] - range[0]) / 1000)}`,
      'timeline',
    ) +
    '<defs><pattern id="lost" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)">' +
    '<line class="hatch-strong" x1="0" y1="0" x2="0" y2="5"/></pattern></defs>' +
    axisX(seconds, 24, bottom, (value, step) => (step >= 1 ? durationText(value) : `${tickText(value, step)}s`)) +
    boxes +
    labels +
    key +
    '</svg>'
  );
}

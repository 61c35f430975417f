// Horizontal bars: what a parameter matters, with its interval; what each operator costs beside the baseline's.
import {at, emptyPlot, extentOf, hoverText, isNumber, lineAt, openSvg, scaleOf, shortNames, textAt} from './svg.js';
import {kMissing, metricText, plural, shareText} from './format.js';

const kBarRow = 24;
const kPairRow = 34;

function nameRoom(width) {
  return Math.min(230, Math.max(110, width * 0.32));
}

// bars: {name, value, low, high, trials}: shares of variance, 0 to 1. chance: below it a share may be accident.
export function importance(bars, options) {
  const {width} = options;
  if (!bars.length)
    return emptyPlot(width, 90, 'importance', options.reason ?? 'Too few complete trials to say what mattered');
  const left = nameRoom(width);
  const height = bars.length * kBarRow + 34;
  const x = scaleOf(0, Math.max(0.05, extentOf(bars.flatMap((bar) => [bar.value, bar.high]))[1]), left, width - 58);
  const names = shortNames(
    bars.map((bar) => bar.name),
    Math.floor(left / 6.8),
  );
  const rows = bars
    .map((bar, i) => {
      const y = 8 + i * kBarRow;
      const sure = isNumber(bar.low) ? bar.low > (options.chance ?? 0) : bar.value > (options.chance ?? 0);
      const whisker =
        isNumber(bar.low) && isNumber(bar.high) ? lineAt(x(bar.low), y + 8, x(bar.high), y + 8, 'whisker') : '';
      return (
        '<g>' +
        hoverText(`${bar.name}: ${shareText(bar.value)} of the variance over ${plural(bar.trials, 'trial')}`) +
        textAt(left - 8, y + 12, names[i], 'tick', 'end') +
        `<rect class="${sure ? 'bar' : 'bar unsure'}" x="${at(left)}" y="${at(y)}" width="` +
        `${at(Math.max(1, x(bar.value) - left))}" height="16"/>` +
        whisker +
        textAt(Math.max(x(bar.value), isNumber(bar.high) ? x(bar.high) : 0) + 6, y + 12, shareText(bar.value), 'tick') +
        '</g>'
      );
    })
    .join('');
  return (
    openSvg(
      width,
      height,
      `What mattered: ${bars
        .slice(0, 3)
        .map((bar) => `${bar.name} ${shareText(bar.value)}`)
        .join(', ')}`,
      'importance',
    ) +
    rows +
    textAt(width - 4, height - 6, 'share of the variance explained; grey: may be chance', 'soft', 'end') +
    '</svg>'
  );
}

// rows: {name, base, candidate, note}: undefined where one side has no such operator. options: width, unit (a metric's
// name), most.
export function operators(rows, options) {
  const {width} = options;
  if (!rows.length) return emptyPlot(width, 90, 'operators', 'The runtime did not say what it executed');
  const shown = rows.slice(0, options.most ?? 40);
  const left = nameRoom(width);
  const height = shown.length * kPairRow + 44;
  const x = scaleOf(0, extentOf(shown.flatMap((row) => [row.base, row.candidate, 0]))[1] || 1, left, width - 84);
  const names = shortNames(
    shown.map((row) => row.name),
    Math.floor(left / 6.8),
  );
  const tell = (value) =>
    isNumber(value) ? (options.unit ? metricText(options.unit, value) : String(value)) : kMissing;
  const bar = (value, y, look) =>
    (isNumber(value)
      ? `<rect class="${look}" x="${at(left)}" y="${at(y)}" width="${at(Math.max(1, x(value) - left))}" height="11"/>`
      : '') + textAt((isNumber(value) ? x(value) : left) + 6, y + 10, tell(value), 'tick');
  const body = shown
    .map((row, i) => {
      const y = 26 + i * kPairRow;
      const note = row.note ? `: ${row.note}` : '';
      return (
        '<g>' +
        hoverText(`${row.name}: baseline ${tell(row.base)}, candidate ${tell(row.candidate)}${note}`) +
        textAt(left - 8, y + 16, names[i], 'tick', 'end') +
        bar(row.base, y, 'bar-base') +
        bar(row.candidate, y + 13, 'bar-candidate') +
        '</g>'
      );
    })
    .join('');
  const more =
    rows.length > shown.length ? textAt(left, height - 6, `and ${rows.length - shown.length} more below`, 'soft') : '';
  return (
    openSvg(width, height, `${plural(rows.length, 'operator')} of the candidate beside the baseline's`, 'operators') +
    `<text class="key" x="${at(left)}" y="14"><tspan class="mark-baseline">■</tspan> baseline  <tspan ` +
    `class="mark-front">■</tspan> this candidate</text>` +
    body +
    more +
    '</svg>'
  );
}

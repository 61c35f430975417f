// Which share of inferences was faster than x: the empirical distribution of each side with its 95 % band (Dvoretzky,
// Kiefer and Wolfowitz, with Massart's constant) and the median with its interval. The axis ends where 98 % of all
// samples lie; what is beyond is counted in words.
import {
  at,
  axisX,
  axisY,
  emptyPlot,
  extentOf,
  hoverText,
  isNumber,
  lineAt,
  openSvg,
  padRange,
  scaleOf,
  textAt,
} from './svg.js';
import {plural} from './format.js';

const kMostSteps = 300;
const kAxisShare = 0.98;

export function quantileOf(sorted, share) {
  if (!sorted.length) return undefined;
  const place = (sorted.length - 1) * share;
  const below = Math.floor(place);
  const above = Math.min(sorted.length - 1, below + 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
}

// Half the height of the band.
export function bandOf(count) {
  return Math.sqrt(Math.log(2 / 0.05) / (2 * count));
}

function stepsOf(sorted) {
  const every = Math.max(1, Math.ceil(sorted.length / kMostSteps));
  const steps = [];
  for (let i = 0; i < sorted.length; ++i) {
    if (i % every && i !== sorted.length - 1) continue;
    steps.push([sorted[i], (i + 1) / sorted.length]);
  }
  return steps;
}

function pathOf(steps, x, y, shift) {
  const height = (share) => y(Math.min(1, Math.max(0, share + shift)));
  return (
    `M${at(x.from)} ${at(height(0))}` +
    steps.map(([value, share]) => `H${at(x(value))}V${at(height(share))}`).join('') +
    `H${at(x.to)}`
  );
}

function bandShape(steps, x, y, band) {
  const upper = pathOf(steps, x, y, band);
  const height = (share) => y(Math.min(1, Math.max(0, share - band)));
  let lower = `V${at(height(1))}`;
  for (let i = steps.length - 1; i >= 0; --i) lower += `H${at(x(steps[i][0]))}V${at(height(i ? steps[i - 1][1] : 0))}`;
  return `${upper}${lower}H${at(x.from)}z`;
}

const kKeyLetter = 6.5;

function keyText(one) {
  return `${one.name} (n = ${one.sorted.length})`;
}

// One row where all names fit beside each other, else one each.
function keyRowsOf(series, left, width) {
  const room = series.reduce((sum, one) => sum + keyText(one).length * kKeyLetter + 40, left);
  return room <= width + 20 ? 1 : series.length;
}

function keyOf(series, left, width) {
  const isOneRow = keyRowsOf(series, left, width) === 1;
  let x = left;
  return series
    .map((one, i) => {
      const y = 12 + (isOneRow ? 0 : 14 * i);
      const item = lineAt(x, y, x + 16, y, `curve-${one.look}`) + textAt(x + 21, y + 4, keyText(one), 'key');
      if (isOneRow) x += keyText(one).length * kKeyLetter + 40;
      return item;
    })
    .join('');
}

// series: {name, values, look: candidate|baseline, median, low, high}. options: width, height, unit.
export function distribution(series, options) {
  const {width, height} = options;
  const there = series
    .map((one) => ({...one, sorted: one.values.filter(isNumber).sort((a, b) => a - b)}))
    .filter((one) => one.sorted.length);
  if (!there.length) return emptyPlot(width, height, 'distribution', 'No samples were kept');
  const frame = {left: 50, top: 20 + 14 * keyRowsOf(there, 50, width), right: width - 14, bottom: height - 40};
  const highest = Math.max(...there.map((one) => quantileOf(one.sorted, one.sorted.length > 20 ? kAxisShare : 1)));
  const range = padRange([extentOf(there.map((one) => one.sorted[0]))[0], highest], 0.04);
  const beyond = there.reduce((sum, one) => sum + one.sorted.filter((value) => value > range[1]).length, 0);
  const x = scaleOf(range[0], range[1], frame.left, frame.right);
  const y = scaleOf(0, 1, frame.bottom, frame.top);
  const shapes = there
    .map((one) => {
      const steps = stepsOf(one.sorted);
      const median = isNumber(one.median) ? one.median : quantileOf(one.sorted, 0.5);
      const interval =
        isNumber(one.low) && isNumber(one.high)
          ? `<rect class="median-${one.look}" x="${at(x(one.low))}" y="${at(frame.top)}" width="` +
            `${at(Math.max(1, x(one.high) - x(one.low)))}" ` +
            `height="${at(frame.bottom - frame.top)}"/>`
          : '';
      return (
        '<g>' +
        hoverText(
          `${one.name}: median ${median.toPrecision(4)} ${options.unit}, ${plural(one.sorted.length, 'sample')}`,
        ) +
        `<path class="band-${one.look}" d="${bandShape(steps, x, y, bandOf(one.sorted.length))}"/>${interval}` +
        `<path class="curve-${one.look}" d="${pathOf(steps, x, y, 0)}"/>` +
        `${lineAt(x(median), frame.top, x(median), frame.bottom, `median-line-${one.look}`)}</g>`
      );
    })
    .join('');
  const key = keyOf(there, frame.left, width);
  return (
    openSvg(
      width,
      height,
      options.label ?? `Distribution of ${there.map((one) => one.name).join(' and ')}`,
      'distribution',
    ) +
    axisX(x, frame.top, frame.bottom) +
    axisY(y, frame.left, frame.right, (value) => `${Math.round(value * 100)} %`) +
    shapes +
    key +
    textAt(frame.right, height - 6, options.unit, 'name', 'end') +
    (beyond ? textAt(frame.left, height - 6, `${plural(beyond, 'sample')} beyond the right edge`, 'soft') : '') +
    '</svg>'
  );
}

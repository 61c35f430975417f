// Parallel coordinates of the parameters that vary. Each line is one trial from the first axis to the last: a parameter
// that a trial does not have stands at the axis's "not used" tick, so lines of different trials are never joined. The
// last axis is a metric.
import {
  at,
  emptyPlot,
  escapeText,
  extentOf,
  isNumber,
  lineAt,
  openSvg,
  padRange,
  scaleOf,
  shortNames,
  textAt,
  tickText,
  ticksOf,
} from './svg.js';
import {plural} from './format.js';

const kMostLines = 2000;
const kMostNames = 14;
const kAxisRoom = 96;
const kUnused = 'not used';

// 99.91000000000001 is what a person wrote as 99.91.
function valueText(value) {
  return isNumber(value) ? String(Number(value.toPrecision(9))) : String(value);
}

// Numbers with many values are a scale; everything else is a list of values, each with its own place.
function axisOf(axis, rows, index, top, bottom) {
  const values = rows.map((row) => row.values[index]);
  const known = values.filter((value) => value !== undefined && value !== null);
  const distinct = [...new Set(known)];
  const missing = known.length < values.length;
  const floor = missing ? bottom - 26 : bottom;
  const shared = {name: axis.name, missing, bottom};
  if ((distinct.length > 8 && distinct.every(isNumber)) || axis.metric) {
    const range = padRange(extentOf(distinct) ?? [0, 1], 0.04);
    const scale = scaleOf(range[0], range[1], floor, top);
    const {step, ticks} = ticksOf(range[0], range[1], 6);
    return {...shared, scale, ticks: ticks.map((tick) => ({y: scale(tick), text: tickText(tick, step)}))};
  }
  const order = distinct.sort((a, b) =>
    isNumber(a) && isNumber(b) ? a - b : String(a) < String(b) ? -1 : String(a) > String(b) ? 1 : 0,
  );
  const names = shortNames(order.map(valueText), kMostNames);
  const place = new Map(
    order.map((value, i) => [
      value,
      order.length > 1 ? top + (i * (floor - top)) / (order.length - 1) : (top + floor) / 2,
    ]),
  );
  const count = new Map();
  for (const value of known) count.set(value, (count.get(value) ?? 0) + 1);
  return {
    ...shared,
    place,
    ticks: order.map((value, i) => ({
      y: place.get(value),
      text: names[i],
      full: String(value),
      count: count.get(value),
      value,
    })),
  };
}

function heightAt(axis, value) {
  if (value === undefined || value === null || (axis.scale && !isNumber(value))) return axis.bottom;
  return axis.scale ? axis.scale(value) : axis.place.get(value);
}

// The front and the best always; of the rest as many as can be told apart, evenly over the numbers.
function drawnRows(rows) {
  if (rows.length <= kMostLines) return rows;
  const kept = rows.filter((row) => row.front || row.best);
  const rest = rows.filter((row) => !row.front && !row.best);
  const room = kMostLines - Math.min(kMostLines, kept.length);
  for (let i = 0; i < room; ++i) kept.push(rest[Math.floor((i * rest.length) / room)]);
  return kept;
}

function axisShapes(axis, x, index, names) {
  let shapes = lineAt(x, axis.top, x, axis.bottom, 'axis');
  names.forEach((line, i) => {
    shapes += textAt(x, 14 + i * 13, line, i === names.length - 1 ? 'name' : 'soft', 'middle');
  });
  shapes = `<g><title>${escapeText(axis.name)}</title>${shapes}</g>`;
  for (const tick of axis.ticks) {
    const count = tick.count === undefined ? '' : ` (${tick.count})`;
    const full =
      tick.full === undefined
        ? ''
        : `<title>${escapeText(`${axis.name} = ${tick.full}: ${plural(tick.count, 'trial')}`)}</title>`;
    const data =
      tick.full === undefined ? '' : ` data-axis="${index}" data-value="${escapeText(JSON.stringify(tick.value))}"`;
    shapes +=
      `<g class="value"${data}>${full}${lineAt(x - 3, tick.y, x + 3, tick.y, 'axis')}` +
      `${textAt(x + 6, tick.y + 4, tick.text + count, 'halo')}</g>`;
  }
  if (axis.missing)
    shapes +=
      lineAt(x - 3, axis.bottom, x + 3, axis.bottom, 'axis') + textAt(x + 6, axis.bottom + 4, kUnused, 'halo soft');
  return shapes;
}

// axes: {name, metric}; rows: {id, values (one an axis, undefined where the trial has none), kind, front, best,
// selected}. options: width, height.
export function parallel(axes, rows, options) {
  const {height} = options;
  const width = Math.max(options.width, axes.length * kAxisRoom);
  if (!rows.length) return emptyPlot(options.width, height, 'parallel', 'No trial has ended yet');
  if (!axes.length) return emptyPlot(options.width, height, 'parallel', 'No parameter varies between the trials');
  const top = 48;
  const bottom = height - 18;
  const placed = axes.map((axis, i) => ({...axisOf(axis, rows, i, top, bottom), top}));
  const step = axes.length > 1 ? (width - 2 * kAxisRoom) / (axes.length - 1) : 0;
  const x = (i) => (axes.length > 1 ? kAxisRoom / 2 + i * step : width / 2);
  const drawn = drawnRows(rows);
  const lineOf = (row) =>
    row.values.map((value, i) => `${i ? 'L' : 'M'}${at(x(i))} ${at(heightAt(placed[i], value))}`).join('');
  const plain = (kind) =>
    drawn
      .filter((row) => row.kind === kind && !row.front && !row.best)
      .map(lineOf)
      .join('');
  const special = (test, look) =>
    drawn
      .filter(test)
      .map(
        (row) =>
          `<path class="${look}" data-trial="${escapeText(row.id)}" d="${lineOf(row)}"><title>` +
          `${escapeText(row.title ?? row.id)}</title></path>`,
      )
      .join('');
  const shapes = ['infeasible', 'failed', 'feasible', 'baseline']
    .map((kind) => {
      const path = plain(kind);
      return path ? `<path class="line-${kind}" d="${path}"/>` : '';
    })
    .join('');
  const names = shortNames(
    axes.map((axis) => axis.name.split('.').pop()),
    Math.floor((step || width) / 6.6),
  );
  const said =
    drawn.length < rows.length
      ? `${drawn.length} of ${plural(rows.length, 'trial')} drawn`
      : plural(rows.length, 'trial');
  return (
    openSvg(
      width,
      height,
      `Parameters of ${said}, one line a trial; ${axes.map((axis) => axis.name).join(', ')}`,
      'parallel',
    ) +
    shapes +
    special((row) => row.front && !row.best, 'line-front') +
    special((row) => row.best, 'line-best') +
    placed.map((axis, i) => axisShapes(axis, x(i), i, axisNames(axes[i].name, names[i], step || width))).join('') +
    (drawn.length < rows.length ? textAt(width - 4, height - 2, said, 'soft', 'end') : '') +
    '</svg>'
  );
}

// "static_int8.observer" in two lines: whose it is, and what it is.
function axisNames(name, short, room) {
  const dot = name.indexOf('.');
  const most = Math.max(4, Math.floor(room / 6.6));
  return dot > 0 ? [shortNames([name.slice(0, dot)], most)[0], short] : ['', short];
}

// Two metrics of every trial: the baseline as a diamond, the constraint as a hatched region, dots that keep it and
// crosses that break it, the front as a step line with whiskers, the budget dial as a line that can be moved. A trial
// that lacks one of the two metrics stands in a strip beside the axis of the other, so that nothing vanishes; what lies
// far beyond stands at the edge.
import {
  at,
  axisX,
  axisY,
  crossesAt,
  dotsAt,
  emptyPlot,
  escapeText,
  extentOf,
  isNumber,
  lineAt,
  openSvg,
  padRange,
  scaleOf,
  textAt,
} from './svg.js';
import {plural} from './format.js';

const kNarrow = 480;

// The range that is worth room: feasible trials, the baseline and the limit; of the rest as much again on the worse
// side.
function worthyRange(points, name, limit) {
  const key = name;
  const good = extentOf(
    points
      .filter((point) => point.kind !== 'infeasible' && point.kind !== 'failed')
      .map((point) => point[key])
      .concat(isNumber(limit) ? [limit] : []),
  );
  const all = extentOf(points.map((point) => point[key]));
  if (!all) return null;
  if (!good) return padRange(all, 0.08);
  const room = good[1] - good[0] || Math.abs(good[1]) || 1;
  return padRange(
    [
      Math.max(all[0] < good[0] ? all[0] : good[0], good[0] - room),
      Math.max(good[1], Math.min(all[1], good[1] + room)),
    ],
    0.08,
  );
}

// Where each point stands. options: width, height, xLimit, yLimit ({max} or {min}).
export function layoutScatter(points, options) {
  const {width, height} = options;
  const missingX = points.some((point) => !isNumber(point.x) && isNumber(point.y));
  const missingY = points.some((point) => isNumber(point.x) && !isNumber(point.y));
  const rows = keyRows(points, width);
  const frame = {
    left: 58,
    top: 28 + 14 * (rows.length ? rows[rows.length - 1].row + 1 : 0),
    right: width - 14 - (missingX ? 62 : 0),
    bottom: height - (width < kNarrow ? 62 : 46) - (missingY ? 30 : 0),
  };
  const xRange = worthyRange(points, 'x', options.xLimit?.max ?? options.xLimit?.min) ?? [0, 1];
  const yRange = worthyRange(points, 'y', options.yLimit?.max ?? options.yLimit?.min) ?? [0, 1];
  const x = scaleOf(xRange[0], xRange[1], frame.left, frame.right);
  const y = scaleOf(yRange[0], yRange[1], frame.bottom, frame.top);
  const marks = [];
  let nowhere = 0;
  for (const point of points) {
    const hasX = isNumber(point.x);
    const hasY = isNumber(point.y);
    if (!hasX && !hasY) {
      ++nowhere;
      continue;
    }
    marks.push({
      point,
      cx: hasX ? x(point.x) : width - 40,
      cy: hasY ? y(point.y) : frame.bottom + 38,
      whole: hasX && hasY,
      beyond:
        (hasX && (point.x < xRange[0] || point.x > xRange[1])) ||
        (hasY && (point.y < yRange[0] || point.y > yRange[1])),
    });
  }
  return {width, height, frame, x, y, marks, nowhere, missingX, missingY};
}

// The region that a limit forbids, hatched, and its line.
function limitShapes(layout, limit, axis, look, word) {
  if (!limit) return '';
  const {frame} = layout;
  let shapes = '';
  for (const [side, bound] of Object.entries(limit)) {
    if (!isNumber(bound)) continue;
    if (axis === 'y') {
      const y = layout.y(bound);
      const [top, bottom] = side === 'max' ? [frame.top, y] : [y, frame.bottom];
      shapes +=
        `<rect class="${look}-region" x="${at(frame.left)}" y="${at(top)}" width="${at(frame.right - frame.left)}" ` +
        `height="${at(Math.max(0, bottom - top))}"/>` +
        lineAt(frame.left, y, frame.right, y, look) +
        textAt(frame.right - 4, y + (look === 'dial' ? 14 : -5), word, `${look}-word`, 'end');
    } else {
      const x = layout.x(bound);
      const [left, right] = side === 'max' ? [x, frame.right] : [frame.left, x];
      shapes +=
        `<rect class="${look}-region" x="${at(left)}" y="${at(frame.top)}" width="${at(Math.max(0, right - left))}" ` +
        `height="${at(frame.bottom - frame.top)}"/>` +
        lineAt(x, frame.top, x, frame.bottom, look) +
        textAt(x + 4, frame.top + 12, word, `${look}-word`);
    }
  }
  return shapes;
}

function whiskers(layout, point) {
  const {x, y} = layout;
  let shape = '';
  if (isNumber(point.xLow) && isNumber(point.xHigh) && isNumber(point.y))
    shape += lineAt(x(point.xLow), y(point.y), x(point.xHigh), y(point.y), 'whisker');
  if (isNumber(point.yLow) && isNumber(point.yHigh) && isNumber(point.x))
    shape += lineAt(x(point.x), y(point.yLow), x(point.x), y(point.yHigh), 'whisker');
  return shape;
}

function frontLine(layout, marks) {
  const front = marks.filter((mark) => mark.point.front && mark.whole).sort((a, b) => a.cx - b.cx);
  if (front.length < 2) return '';
  return `<path class="front-line" d="M${at(front[0].cx)} ${at(front[0].cy)}${front
    .slice(1)
    .map((mark) => `H${at(mark.cx)}V${at(mark.cy)}`)
    .join('')}"/>`;
}

function starAt(x, y, size) {
  const corners = [];
  for (let i = 0; i < 10; ++i) {
    const angle = Math.PI * (i / 5 - 0.5);
    const radius = i % 2 ? size * 0.45 : size;
    corners.push(`${at(x + radius * Math.cos(angle))} ${at(y + radius * Math.sin(angle))}`);
  }
  return corners.join('L');
}

function specialMark(mark) {
  const {point, cx, cy} = mark;
  const title = `<title>${escapeText(point.title ?? point.id)}</title>`;
  const data = `data-trial="${escapeText(point.id)}"`;
  if (point.kind === 'baseline')
    return `<path class="baseline" ${data} d="M${at(cx)} ${at(cy - 7)}l7 7l-7 7l-7 -7z">${title}</path>`;
  if (point.best) return `<path class="best" ${data} d="M${starAt(cx, cy, 9)}z">${title}</path>`;
  return (
    `<circle class="${point.tied ? 'front tied' : 'front'}" ${data} cx="${at(cx)}" cy="${at(cy)}" r="4.5">` +
    `${title}</circle>`
  );
}

const kScatterKey = [
  ['best', '★ chosen'],
  ['front', '● front'],
  ['feasible', '● feasible'],
  ['baseline', '◆ baseline'],
  ['infeasible', '× breaks a constraint'],
  ['failed', '× failed'],
];

// The marks that are there, in as many rows as they need.
function keyRows(points, width) {
  const there = new Set(points.flatMap((point) => [point.kind, point.front ? 'front' : '', point.best ? 'best' : '']));
  let x = 58;
  let row = 0;
  return kScatterKey
    .filter(([kind]) => there.has(kind))
    .map(([kind, text]) => {
      const room = text.length * 6.3 + 16;
      if (x + room > width && x > 58) {
        x = 58;
        ++row;
      }
      const place = {kind, text, x, row};
      x += room;
      return place;
    });
}

function scatterKey(points, width) {
  return keyRows(points, width)
    .map(
      ({kind, text, x, row}) =>
        `<text class="key" x="${at(x)}" y="${14 + 14 * row}"><tspan class="mark-${kind}">${text[0]}</tspan>` +
        `${text.slice(1)}</text>`,
    )
    .join('');
}

function strips(layout) {
  const {frame, width} = layout;
  let shapes = '';
  if (layout.missingX) {
    shapes +=
      lineAt(width - 66, frame.top, width - 66, frame.bottom, 'strip') +
      textAt(width - 40, frame.top - 4, 'not timed', 'tick', 'middle');
  }
  if (layout.missingY) {
    shapes +=
      lineAt(frame.left, frame.bottom + 26, frame.right, frame.bottom + 26, 'strip') +
      textAt(frame.left - 6, frame.bottom + 42, 'unknown', 'tick', 'end');
  }
  return shapes;
}

// points: {id, x, y, kind: feasible|infeasible|failed|baseline, and where known xLow xHigh yLow yHigh, front, best,
// tied, selected, title}. options: width, height, xName, yName, xLimit, yLimit, dial (a bound of y), label.
export function scatter(points, options) {
  const layout = layoutScatter(points, options);
  const {width, height, frame, marks} = layout;
  if (!points.length) return emptyPlot(width, height, 'scatter', 'No trial has ended yet');
  if (!marks.length)
    return emptyPlot(width, height, 'scatter', `None of ${plural(points.length, 'trial')} has one of these figures`);
  const isSpecial = (mark) => mark.point.kind === 'baseline' || mark.point.front || mark.point.best;
  const of = (kind) =>
    marks.filter((mark) => mark.point.kind === kind && !isSpecial(mark)).map((mark) => [mark.cx, mark.cy]);
  const special = marks.filter(isSpecial);
  const selected = marks.filter((mark) => mark.point.selected);
  const beyond = marks.filter((mark) => mark.beyond).length;
  const notes = [
    layout.nowhere ? `${layout.nowhere} without figures` : '',
    beyond ? `${beyond} beyond the edge` : '',
  ].filter(Boolean);
  return (
    openSvg(
      width,
      height,
      options.label ?? `${options.yName} over ${options.xName} of ${plural(points.length, 'trial')}`,
      'scatter',
    ) +
    '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">' +
    '<line class="hatch" x1="0" y1="0" x2="0" y2="6"/></pattern></defs>' +
    limitShapes(layout, options.xLimit, 'x', 'limit', 'limit') +
    limitShapes(layout, options.yLimit, 'y', 'limit', 'limit') +
    axisX(layout.x, frame.top, frame.bottom) +
    axisY(layout.y, frame.left, frame.right) +
    (isNumber(options.dial) ? limitShapes(layout, {max: options.dial}, 'y', 'dial', 'your budget') : '') +
    strips(layout) +
    frontLine(layout, marks) +
    crossesAt(of('failed'), 'failed') +
    crossesAt(of('infeasible'), 'infeasible') +
    dotsAt(of('feasible'), 'feasible') +
    special.map((mark) => whiskers(layout, mark.point)).join('') +
    special.map(specialMark).join('') +
    selected.map((mark) => `<circle class="ring" cx="${at(mark.cx)}" cy="${at(mark.cy)}" r="10"/>`).join('') +
    scatterKey(points, width) +
    textAt(frame.left, frame.top - 4, options.yName, 'name') +
    textAt(frame.right, height - (width < kNarrow ? 24 : 8), options.xName, 'name', 'end') +
    (notes.length ? textAt(frame.left, height - 8, notes.join(', '), 'soft') : '') +
    '</svg>'
  );
}

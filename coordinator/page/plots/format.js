// Numbers and times as people read them. A value that is not there is told, never 0 and never nothing.
import {isNumber} from './svg.js';

export const kMissing = '–';

function withDigits(value) {
  const size = Math.abs(value);
  if (value === 0) return '0';
  if (size >= 1000) return value.toFixed(0);
  if (size >= 100) return value.toFixed(1);
  if (size >= 1) return value.toFixed(2);
  return String(Number(value.toPrecision(3)));
}

const kByteUnits = [
  [1e9, 'GB'],
  [1e6, 'MB'],
  [1e3, 'kB'],
];

export function bytesText(value) {
  if (!isNumber(value)) return kMissing;
  const unit = kByteUnits.find(([size]) => Math.abs(value) >= size);
  return unit ? `${(value / unit[0]).toFixed(1)} ${unit[1]}` : `${value} B`;
}

// The unit stands last in a metric's name, or before its quantile.
const kUnits = [
  [/_bytes$/, 'MB', 1e-6],
  [/_ms(_p\d+)?$/, 'ms', 1],
  [/_per_s$/, '/s', 1],
  [/_db$/, 'dB', 1],
];

export function unitOf(metric) {
  const found = kUnits.find(([form]) => form.test(metric));
  return found ? {unit: found[1], factor: found[2]} : {unit: '', factor: 1};
}

export function metricText(metric, value) {
  if (!isNumber(value)) return kMissing;
  if (/_bytes$/.test(metric)) return bytesText(value);
  const {unit} = unitOf(metric);
  return unit === '/s' ? `${withDigits(value)}/s` : unit ? `${withDigits(value)} ${unit}` : withDigits(value);
}

// The axis name of a metric: words instead of underscores, the unit after them.
export function metricName(metric) {
  const {unit} = unitOf(metric);
  const words = metric
    .replace(/_(bytes|db)$/, '')
    .replace(/_ms(?=_p\d+$|$)/, '')
    .replace(/_per_s$/, '')
    .replaceAll('_', ' ');
  return unit ? `${words}, ${unit === '/s' ? 'per s' : unit}` : words;
}

export function timesText(value) {
  return isNumber(value) ? `${value.toFixed(2)}×` : kMissing;
}

export function shareText(value) {
  return isNumber(value) ? `${(value * 100).toFixed(value !== 0 && Math.abs(value) < 0.1 ? 1 : 0)} %` : kMissing;
}

export function durationText(seconds) {
  if (!isNumber(seconds)) return kMissing;
  const whole = Math.round(seconds);
  if (seconds < 10) return `${Number(seconds.toFixed(1))}s`;
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m${String(whole % 60).padStart(2, '0')}s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)}h${String(Math.floor((whole % 3600) / 60)).padStart(2, '0')}m`;
  return `${Math.floor(whole / 86400)}d${Math.floor((whole % 86400) / 3600)}h`;
}

// How long ago, from two times in milliseconds.
export function agoText(then, now) {
  if (!isNumber(then) || then <= 0) return 'never';
  const seconds = Math.max(0, (now - then) / 1000);
  if (seconds < 5) return 'just now';
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} days ago`;
}

export function intervalText(metric, interval) {
  if (!interval || !isNumber(interval[0]) || !isNumber(interval[1])) return '';
  const {factor} = unitOf(metric);
  return `[${withDigits(interval[0] * factor)}, ${withDigits(interval[1] * factor)}]`;
}

export function plural(count, one, many = one + 's') {
  return `${count} ${count === 1 ? one : many}`;
}

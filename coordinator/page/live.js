// Server-sent events over fetch: after a break the stream goes on from the last number, and what state the line is in
// is told.

const kFirstWaitMs = 500;
const kLongestWaitMs = 15000;

// Messages of a text/event-stream, from its bytes.
export function eventParser(take) {
  let rest = '';
  let message = {data: []};
  return (text) => {
    const lines = (rest + text).split(/\r\n|\n|\r/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === '') {
        if (message.data.length)
          take({id: message.id, event: message.event ?? 'message', data: message.data.join('\n')});
        message = {data: []};
        continue;
      }
      if (line.startsWith(':')) continue;
      const colon = line.indexOf(':');
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
      if (field === 'data') message.data.push(value);
      else if (field === 'id' || field === 'event') message[field] = value;
    }
  };
}

// Follows url until signal ends it. take({id, event, data}); state('live' | 'reconnecting' | 'refused'). A refusal
// (401, 403) is not tried again.
export async function follow(url, {signal, take, state, after}) {
  let last = after;
  let wait = kFirstWaitMs;
  while (!signal.aborted) {
    try {
      const response = await fetch(url, {
        signal,
        cache: 'no-store',
        headers: {Accept: 'text/event-stream', ...(last === undefined ? {} : {'Last-Event-ID': String(last)})},
      });
      if (response.status === 401 || response.status === 403) return state('refused');
      if (!response.ok) throw new Error(`status ${response.status}`);
      state('live');
      wait = kFirstWaitMs;
      const parse = eventParser((message) => {
        if (message.id) last = message.id;
        take(message);
      });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) parse(part.value);
    } catch {
      // What broke is the line; it is made again below.
    }
    if (signal.aborted) return undefined;
    state('reconnecting');
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, wait);
      signal.addEventListener(
        'abort',
        () => {
          clearTimeout(timer);
          resolve();
        },
        {once: true},
      );
    });
    wait = Math.min(kLongestWaitMs, wait * 2);
  }
  return undefined;
}

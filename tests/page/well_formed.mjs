// Whether markup is well formed XML as far as our plots use it: "" or what is wrong. A browser refuses the picture
// otherwise.
const kTag = /<(\/?)([a-zA-Z][\w:-]*)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>/y;
const kEntity = /&(?!(?:amp|lt|gt|quot|#39|#\d+);)/;

export function wellFormed(text) {
  const open = [];
  let at = 0;
  while (at < text.length) {
    const next = text.indexOf('<', at);
    const words = text.slice(at, next < 0 ? text.length : next);
    if (kEntity.test(words)) return `a bare & in ${JSON.stringify(words.slice(0, 60))}`;
    // eslint-disable-next-line no-control-regex
    if (/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/.test(words)) return 'a control character';
    if (next < 0) break;
    kTag.lastIndex = next;
    const tag = kTag.exec(text);
    if (!tag) return `no tag at ${JSON.stringify(text.slice(next, next + 60))}`;
    const [whole, closes, name, attributes, empty] = tag;
    if (kEntity.test(attributes)) return `a bare & in ${JSON.stringify(attributes.slice(0, 60))}`;
    if (closes && open.pop() !== name) return `</${name}> closes another`;
    if (!closes && !empty) open.push(name);
    at = next + whole.length;
  }
  return open.length ? `<${open.pop()}> stays open` : '';
}

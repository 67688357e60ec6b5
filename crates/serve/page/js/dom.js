// Elements, numbers for people, and words for screen readers.

// An element. Keys that begin with `on` are listeners, `class` its classes, and true or false a
// property; everything else is an attribute.
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (key.startsWith('on')) made.addEventListener(key.slice(2), value);
    else if (typeof value === 'boolean') made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

export const byId = (id) => document.getElementById(id);

// A button with its text and what it does.
export const button = (text, onclick, properties = {}) =>
  element('button', { type: 'button', onclick, ...properties }, text);

// Says a sentence to screen readers.
export function announce(text) {
  const place = byId('announcer');
  place.textContent = '';
  // An emptied region that is filled a moment later is read even if the words are the same.
  setTimeout(() => { place.textContent = text; }, 50);
}

export const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}\u00a0%`;

// Seconds as 3.40 s, and from a minute on as 1:03.4.
export function time(seconds) {
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
  const minutes = Math.floor(seconds / 60);
  const rest = (seconds - 60 * minutes).toFixed(1).padStart(4, '0');
  return `${minutes}:${rest}`;
}

export const count = (number, one, several = `${one}s`) => `${number} ${number === 1 ? one : several}`;

export const size = (bytes) =>
  bytes < 1 << 20 ? `${Math.max(1, Math.round(bytes / 1024))} KiB` : `${(bytes / (1 << 20)).toFixed(1)} MiB`;

// Gives a file to the user.
export function save(name, content, kind) {
  const blob = content instanceof Blob ? content : new Blob([content], { type: kind });
  const url = URL.createObjectURL(blob);
  element('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

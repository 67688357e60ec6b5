// Classes with their scores, as bars; "none of these" where the model can tell.
import { element, percent } from './dom.js';

function bar(share) {
  const fill = element('div', { class: 'fill' });
  fill.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
  return element('div', { class: 'track', 'aria-hidden': 'true' }, fill);
}

function row(kind, name, share, number) {
  return element('li', { class: kind }, element('span', { class: 'name' }, name), bar(share),
    element('span', { class: 'number' }, number));
}

// The bars of an answer or of a window.
export function bars(answer) {
  const unknown = answer.known === false;
  const rows = answer.predictions.map(({ label, score }, at) =>
    row(at === 0 && !unknown ? 'best' : '', label, score, percent(score)));
  if (unknown) {
    const none = row('best none', 'None of these', answer.belonging, answer.belonging.toFixed(2));
    const mark = element('span', { class: 'mark' });
    mark.style.left = `${100 * Math.min(1, Math.max(0, answer.threshold))}%`;
    none.querySelector('.track').append(mark);
    rows.unshift(none);
  }
  const list = element('ol', { class: 'bars' }, rows);
  if (answer.threshold === undefined) return list;
  const score = answer.belonging.toFixed(2);
  const threshold = answer.threshold.toFixed(2);
  const about = unknown
    ? `It belongs to the classes by ${score}; below ${threshold} it is none of them. The nearest are listed.`
    : `It belongs to the classes by ${score}; below ${threshold} it would be none of them.`;
  return element('div', { class: 'stack' }, list, element('p', { class: 'hint' }, about));
}

// The answer in a few words.
export function inWords(answer) {
  if (answer.known === false) return 'none of these';
  const [{ label, score }] = answer.predictions;
  return `${label}, ${percent(score, 0)}`;
}

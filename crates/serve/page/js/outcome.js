// How good a run is: its accuracy with the interval, each class, and the clips that are probably mistakes.
import { request } from './api.js';
import { button, count, element, percent } from './dom.js';
import * as media from './media.js';

// Mistakes that are shown before "Show all".
const FIRST = 6;

// The result of a trained run, as GET /v1/runs/ID gives it.
export function outcome(run) {
  const judged = run.result?.cross_validation;
  const held = run.result?.tests?.[0];
  if (!judged || !held) {
    return element('p', { class: 'notice' }, 'There is no estimate of the accuracy: each class needs at least two recordings. Five are enough for a first one.');
  }
  return element('div', { class: 'outcome' }, accuracy(judged, held.accuracy.top1),
    classes(held), mistakes(run, judged.suspects), calibration(judged));
}

function accuracy(judged, top1) {
  const [low, high] = judged.interval;
  const range = element('div', { class: 'range' });
  range.style.left = `${100 * low}%`;
  range.style.width = `${100 * (high - low)}%`;
  const dot = element('div', { class: 'dot' });
  dot.style.left = `${100 * top1}%`;
  const words = `of new recordings are recognised: the mean of ${judged.folds} folds. With 95 % confidence it is between ${percent(low, 0)} and ${percent(high, 0)}.`;
  return element('div', { class: 'accuracy' },
    element('p', { class: 'figure' }, (100 * top1).toFixed(0), element('small', {}, ' %')),
    element('div', { class: 'stack' }, element('p', {}, words),
      element('div', { 'aria-hidden': 'true' }, element('div', { class: 'interval' }, range, dot),
        element('div', { class: 'scale' }, ...[0, 25, 50, 75, 100].map((at) => element('span', {}, `${at} %`)))),
      element('p', { class: 'hint' }, `Each of ${count(judged.clips, 'clip')} of ${count(judged.recordings, 'recording')} was held out once; the run itself is trained on all ${judged.all_clips}.`)));
}

function classes({ labels, accuracy: { per_class: shares, confusion } }) {
  const rows = labels.map((label, at) => {
    const clips = confusion[at].reduce((sum, one) => sum + one, 0);
    const right = confusion[at][at];
    const fill = element('div', { class: 'fill' });
    fill.style.width = `${100 * shares[at]}%`;
    return element('tr', {}, element('th', { scope: 'row' }, label),
      element('td', { 'aria-hidden': 'true' }, element('div', { class: 'track' }, fill)),
      element('td', { class: 'number' }, `${right} of ${clips}`));
  });
  return element('div', { class: 'wide-table' }, element('table', {},
    element('caption', {}, 'Held-out clips recognised'),
    element('thead', { class: 'unseen' }, element('tr', {}, element('th', { scope: 'col' }, 'Class'),
      element('td', { 'aria-hidden': 'true' }), element('th', { scope: 'col' }, 'Clips'))),
    element('tbody', {}, rows)));
}

function mistakes(run, suspects) {
  const title = element('h3', {}, 'Clips to look at');
  if (suspects.length === 0) {
    return element('div', {}, title, element('p', { class: 'hint' }, 'None: every held-out clip is most like its own class.'));
  }
  const list = element('ul', { class: 'mistakes' }, suspects.slice(0, FIRST).map((one) => mistake(run, one)));
  const rest = suspects.slice(FIRST);
  const more = rest.length === 0 ? null : button(`Show all ${suspects.length}`, () => {
    const shown = rest.map((one) => mistake(run, one));
    list.append(...shown);
    more.remove();
    shown[0].querySelector('video')?.focus();
  }, { class: 'small' });
  return element('div', { class: 'stack' }, title,
    element('p', { class: 'hint' }, 'These are more like another class than their own, the most contradicted first: in the wrong class, or hard.'), list, more);
}

function mistake(run, { id, class: own, probability, other }) {
  const name = run.clips.find((clip) => clip.id === id)?.name ?? id;
  const place = element('div', {}, element('p', { class: 'no-picture' }, '…'));
  picture(run.id, id, name).then((shown) => place.replaceChildren(shown));
  return element('li', { class: 'mistake' }, place, element('div', {},
    element('p', {}, element('strong', {}, name)),
    element('p', {}, `Given as ${own} (${percent(probability)}), more like ${other}.`)));
}

// The clip as a video, if this browser can play it.
async function picture(run, clip, name) {
  try {
    const url = URL.createObjectURL(await (await request(`v1/runs/${run}/clips/${clip}`)).blob());
    const video = await media.open(url);
    if (video) {
      video.controls = true;
      video.loop = true;
      video.setAttribute('aria-label', name);
      return video;
    }
    URL.revokeObjectURL(url);
  } catch {
    // Said in place of the picture.
  }
  return element('p', { class: 'no-picture' }, 'No picture in this browser');
}

function calibration({ threshold, temperature, strangers }) {
  const refused = strangers
    ? ` Of ${count(strangers[0], 'example')} of something else, ${strangers[1]} are refused.`
    : '';
  return element('p', { class: 'hint' }, `Probabilities are calibrated (temperature ${temperature.toFixed(2)}). A video that belongs to the classes by less than ${threshold.toFixed(2)} is answered “none of these”.${refused}`);
}

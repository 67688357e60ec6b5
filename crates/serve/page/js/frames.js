// The frames that a model has looked at.
import { element, time } from './dom.js';
import { pictures } from './media.js';

// Pictures of `frames`, those of an answer, from an opened video; their times if there is none.
export function frameStrip(video, frames) {
  const title = element('p', { class: 'frames-title' });
  const place = element('div', { class: 'frame-strip' }, title);
  if (!video) {
    const times = frames.map((frame) => time(frame.time)).join(', ');
    title.textContent = `The model looked at ${frames.length} frames: ${times}.`;
    return place;
  }
  title.textContent = `The ${frames.length} frames that the model looked at`;
  const items = frames.map((frame) => {
    const blank = element('canvas', { width: 192, height: Math.max(1, Math.round((192 * video.videoHeight) / video.videoWidth)) });
    return element('li', {}, element('figure', {}, blank, element('figcaption', {}, time(frame.time))));
  });
  place.append(element('ol', { class: 'frames' }, items));
  const draw = (at, canvas) => {
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', `Frame at ${time(frames[at].time)}`);
    items[at].querySelector('canvas').replaceWith(canvas);
  };
  pictures(video, frames.map((frame) => frame.time), draw).catch(() => {
    title.textContent = 'This browser could not draw all frames that the model looked at.';
  });
  return place;
}

// The camera: opened with a plain reason if that fails, and clips recorded of it.
import { Problem, problemBox } from './api.js';
import { announce, button, byId, count, element } from './dom.js';

const REASONS = {
  NotAllowedError: ['the camera is not allowed', 'allow it for this page in the browser, then try again'],
  NotFoundError: ['there is no camera', 'connect one, or choose videos instead'],
  NotReadableError: ['the camera is in use by another program', 'close that program, then try again'],
};

// The camera's stream, without sound.
export async function open() {
  if (!navigator.mediaDevices) {
    throw new Problem({
      detail: 'browsers give the camera only to pages of this machine or with https',
      help: 'open this page as http://127.0.0.1 or through https, or choose videos instead',
    });
  }
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: false, video: { width: { ideal: 640 }, height: { ideal: 480 } } });
  } catch (error) {
    const [detail, help] = REASONS[error.name] ?? [`the camera cannot be opened: ${error.message}`, ''];
    throw new Problem({ detail, help });
  }
}

export const close = (stream) => stream.getTracks().forEach((track) => track.stop());

// What the browser can record.
const KINDS = ['video/webm;codecs=vp8', 'video/webm', 'video/mp4'];

let number = 0;

// A dialog in which clips are recorded; each goes to `take` as a file.
export async function record(title, take) {
  const dialog = byId('camera');
  const video = element('video', { muted: true, playsInline: true, autoplay: true, 'aria-label': 'Camera' });
  const countdown = element('p', { class: 'camera-count', 'aria-hidden': 'true' });
  const view = element('div', { class: 'camera-view' }, video, countdown);
  const said = element('p', { class: 'hint', role: 'status' }, 'Opening the camera …');
  const length = element('select', { id: 'clip-length' },
    ...[2, 3, 5, 10].map((seconds) => element('option', { value: seconds }, `${seconds} seconds`)));
  length.value = '3';
  const go = button('Record', () => clip(), { class: 'primary', disabled: true });
  const done = button('Done', () => dialog.close());
  dialog.replaceChildren(element('div', { class: 'stack' }, element('h2', { id: 'camera-title' }, title), view,
    element('div', { class: 'field' }, element('label', { for: 'clip-length' }, 'Length of a clip'), length),
    said, element('div', { class: 'actions' }, go, done)));
  let stream = null;
  let recorder = null;
  let taken = 0;
  let isOpen = true;
  dialog.addEventListener('close', () => {
    isOpen = false;
    recorder = null;
    if (stream) close(stream);
  }, { once: true });
  dialog.showModal();

  const pause = (seconds) => new Promise((resolve) => { setTimeout(resolve, 1000 * seconds); });

  async function clip() {
    go.disabled = true;
    for (const left of [3, 2, 1]) {
      countdown.textContent = left;
      said.textContent = `Recording in ${left} …`;
      await pause(0.7);
      if (!isOpen) return;
    }
    countdown.textContent = '';
    const kind = KINDS.find((one) => MediaRecorder.isTypeSupported(one));
    const mine = new MediaRecorder(stream, { mimeType: kind });
    recorder = mine;
    const parts = [];
    mine.ondataavailable = (event) => parts.push(event.data);
    const stopped = new Promise((resolve) => { mine.onstop = resolve; });
    view.classList.add('recording');
    said.textContent = 'Recording …';
    mine.start();
    await pause(Number(length.value));
    // Closing the dialog has ended the camera, and what was recorded is not wanted.
    if (recorder !== mine) return;
    mine.stop();
    await stopped;
    view.classList.remove('recording');
    number += 1;
    taken += 1;
    const type = kind.split(';')[0];
    take(new File(parts, `camera ${number}.${type.split('/')[1]}`, { type }));
    said.textContent = `${count(taken, 'clip')} recorded.`;
    go.textContent = 'Record another';
    go.disabled = false;
    go.focus();
  }

  try {
    stream = await open();
    if (!isOpen) return close(stream);
    video.srcObject = stream;
    go.disabled = false;
    said.textContent = 'Press Record, then move: it counts down from three.';
    go.focus();
  } catch (error) {
    view.replaceWith(problemBox(error));
    said.textContent = '';
    announce(error.message);
  }
}

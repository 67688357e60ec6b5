// The camera, answered window by window as it comes.
import { Problem, problemBox } from './api.js';
import { bars, inWords } from './bars.js';
import * as camera from './camera.js';
import { announce, button, byId, count, element, time } from './dom.js';
import { written } from './labels.js';
import { token } from './token.js';

// Frames a second that are sent, and their width in pixels.
const RATE = 10;
const WIDTH = 320;
// Bytes that may wait to be sent; beyond that frames are not sent.
const WAITING = 1 << 20;

export class Live {
  #question; #panel = byId('live'); #stream = null; #socket = null; #timer = 0;
  #said = element('p', { class: 'hint', role: 'status' }); #now = element('div'); #last = '';
  #history = element('ol', { class: 'parts', 'aria-label': 'Answers so far, the newest first', tabindex: '0' });

  constructor(question) { this.#question = question; }

  async start() {
    this.stop();
    this.#panel.hidden = false;
    const asking = this.#question.current();
    if (!asking) {
      this.#panel.replaceChildren(element('h2', { id: 'live-title' }, 'Camera, live'),
        element('p', { role: 'status' }, 'Give the actions to look for first.'));
      this.#question.labels.input.focus();
      return;
    }
    const video = element('video', { muted: true, playsInline: true, autoplay: true, 'aria-label': 'Camera' });
    const stop = button('Stop the camera', () => { this.stop(); byId('recognise-live').focus(); });
    this.#history.replaceChildren();
    this.#now.replaceChildren();
    this.#panel.replaceChildren(
      element('div', { class: 'answer-head' }, element('h2', { id: 'live-title' }, 'Camera, live'), stop),
      element('div', { class: 'live-body' }, element('div', { class: 'camera-view' }, video),
        element('div', { class: 'stack' }, this.#said, this.#now, this.#history)));
    stop.focus();
    try {
      if (this.#question.model.streams === false) {
        throw new Problem({ detail: 'this model cannot take frames one by one', help: 'record a clip instead' });
      }
      this.#said.textContent = 'Opening the camera …';
      this.#stream = await camera.open();
      video.srcObject = this.#stream;
      await video.play();
      this.#connect(video, asking);
    } catch (error) {
      this.#fail(error);
    }
  }

  stop() {
    clearInterval(this.#timer);
    if (this.#stream) camera.close(this.#stream);
    this.#stream = null;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    this.#panel.hidden = true;
  }

  #fail(error) {
    this.stop();
    this.#panel.hidden = false;
    this.#panel.replaceChildren(element('h2', { id: 'live-title' }, 'Camera, live'),
      problemBox(error, button('Try again', () => this.start(), { class: 'small' })));
  }

  #connect(video, { model, labels, window, stride }) {
    const query = new URLSearchParams({ model, top: '5', window: `${window}s`, stride: `${stride}s` });
    if (labels) query.set('labels', written(labels));
    const protocols = token() ? ['v1', `bearer.${token()}`] : ['v1'];
    const url = new URL(`v1/stream?${query}`, document.baseURI);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(url, protocols);
    this.#socket = socket;
    let problem = null;
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.#said.textContent = `The first answer comes after ${time(window)}.`;
      this.#timer = setInterval(() => this.#send(video, socket), 1000 / RATE);
    };
    socket.onmessage = ({ data }) => {
      const answer = JSON.parse(data);
      if (answer.detail) problem = new Problem(answer);
      else this.#show(answer);
    };
    socket.onclose = () => {
      clearInterval(this.#timer);
      if (this.#socket !== socket) return;
      const refused = { detail: 'the server refused the stream', help: 'it may have as many streams as it takes; close one, then try again' };
      const ended = { detail: 'the server ended the stream', help: 'try again' };
      this.#fail(problem ?? new Problem(opened ? ended : refused));
    };
  }

  #send(video, socket) {
    if (socket.readyState !== WebSocket.OPEN || socket.bufferedAmount > WAITING || !video.videoWidth) return;
    const canvas = element('canvas', { width: WIDTH, height: Math.round((WIDTH * video.videoHeight) / video.videoWidth) });
    canvas.getContext('2d').drawImage(video, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => {
      if (blob && socket.readyState === WebSocket.OPEN) socket.send(blob);
    }, 'image/jpeg', 0.85);
  }

  #show(answer) {
    this.#now.replaceChildren(bars(answer));
    const left = answer.left_out
      ? ` ${count(answer.left_out, 'frame')} left out: the server is slower than the camera.`
      : '';
    this.#said.textContent = `${time(answer.start)} to ${time(answer.end)}.${left}`;
    const words = inWords(answer);
    // Changes are told; the same again is not.
    const name = answer.known === false ? '' : answer.predictions[0].label;
    if (name !== this.#last) announce(words);
    this.#last = name;
    const line = element('li', {}, element('span', { class: 'when' }, `${time(answer.start)} – ${time(answer.end)}`), ` ${words}`);
    this.#history.prepend(line);
    while (this.#history.children.length > 50) this.#history.lastChild.remove();
  }
}

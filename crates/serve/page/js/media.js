// Videos as the browser sees them: how long they are, and their pictures at given times.
import { element } from './dom.js';

const PATIENCE = 8000;

// Waits for an event of a video; fails with its error, or when nothing happens.
function event(video, name) {
  return new Promise((resolve, reject) => {
    const stop = new AbortController();
    const end = (settle, value) => { stop.abort(); clearTimeout(late); settle(value); };
    const late = setTimeout(() => end(reject, new Error(`no ${name}`)), PATIENCE);
    video.addEventListener(name, () => end(resolve), { signal: stop.signal });
    video.addEventListener('error', () => end(reject, new Error('not playable')), { signal: stop.signal });
  });
}

async function seek(video, time) {
  const sought = event(video, 'seeked');
  video.currentTime = time;
  await sought;
}

// A hidden video that is ready to be sought, with `duration` in seconds; null if the browser cannot
// play it.
export async function open(url) {
  const video = element('video', { muted: true, preload: 'auto', playsInline: true });
  try {
    const loaded = event(video, 'loadeddata');
    video.src = url;
    await loaded;
    if (!video.videoWidth) return null;
    // A recording of a browser does not say how long it is until its end was seen.
    if (video.duration === Infinity) {
      await seek(video, 1e9);
      await seek(video, 0);
    }
    return video;
  } catch {
    return null;
  }
}

// The pictures of an opened video at times in seconds, one after another. A newer call for the same
// video ends an older one.
const newest = new WeakMap();
export async function pictures(video, times, each) {
  const call = {};
  newest.set(video, call);
  for (const [at, time] of times.entries()) {
    // A little after the start of a frame, for times are rounded.
    await seek(video, Math.max(0, Math.min(time + 0.002, video.duration - 0.001)));
    if (newest.get(video) !== call) return;
    const canvas = element('canvas', { width: 192, height: Math.max(1, Math.round((192 * video.videoHeight) / video.videoWidth)) });
    canvas.getContext('2d').drawImage(video, 0, 0, canvas.width, canvas.height);
    each(at, canvas);
  }
}

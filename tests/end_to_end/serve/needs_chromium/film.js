// Draws moving shapes and encodes them as VP8: for each of `films`, parts of a class and a number of
// frames. The frames, of 160 x 120 pixels, as base64.
const GROUNDS = ['#1d3557', '#5a2a27', '#2d4a32', '#4a3b57'];
const SHAPES = ['#f1c453', '#83c5be', '#f28482', '#e9edc9'];

function draw(context, kind, number, at) {
  context.fillStyle = GROUNDS[kind % 4];
  context.fillRect(0, 0, 160, 120);
  context.fillStyle = SHAPES[kind % 4];
  const way = (at * 9 + number * 7) % 120;
  const x = [20 + way, 140 - way, 80, 80][kind % 4];
  const y = [60, 60, 10 + (way * 5) / 6, 60][kind % 4];
  const radius = kind % 4 === 3 ? 6 + way / 3 : 16 + number;
  context.beginPath();
  if (kind % 2) context.rect(x - radius, y - radius, 2 * radius, 2 * radius);
  else context.arc(x, y, radius, 0, 7);
  context.fill();
}

async function film(parts) {
  const frames = [];
  const encoder = new VideoEncoder({
    output: (chunk) => {
      const bytes = new Uint8Array(chunk.byteLength);
      chunk.copyTo(bytes);
      frames.push([chunk.type === 'key', btoa(String.fromCharCode(...bytes))]);
    },
    error: (error) => { throw error; },
  });
  encoder.configure({ codec: 'vp8', width: 160, height: 120, bitrate: 600_000, framerate: 10 });
  const canvas = new OffscreenCanvas(160, 120);
  const context = canvas.getContext('2d');
  let time = 0;
  for (const [kind, number, count] of parts) {
    for (let at = 0; at < count; at += 1) {
      draw(context, kind, number, at);
      const frame = new VideoFrame(canvas, { timestamp: 100_000 * time });
      encoder.encode(frame, { keyFrame: time % 10 === 0 });
      frame.close();
      time += 1;
    }
  }
  await encoder.flush();
  return frames;
}

const made = [];
for (const parts of films) made.push(await film(parts));
return made;

//! Messages between the server and a decoding process: a head of two lengths, a JSON header, bytes.
//! Both lengths are checked against what the receiver expects before anything is read.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use pixels::{Filter, Geometry, Resize};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Bytes of a header.
const HEADER: usize = 256 << 10;

/// The task for a file, whose descriptor travels with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) task: Task,
    /// S, the side of a frame.
    pub(crate) size: usize,
    /// The short side before the crop; without it both sides are S.
    pub(crate) short_side: Option<usize>,
    pub(crate) bilinear: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Task {
    /// T frames of a whole video.
    Clip { frames: usize },
    /// T frames of each window; times as `2s`.
    Windows {
        frames: usize,
        window: String,
        stride: String,
    },
    /// A single picture.
    Picture,
}

impl Job {
    pub(crate) fn new(task: Task, geometry: Geometry) -> Self {
        Self {
            task,
            size: geometry.size,
            short_side: match geometry.resize {
                Resize::ShortSide(side) => Some(side),
                Resize::Squash => None,
            },
            bilinear: geometry.filter == Filter::Bilinear,
        }
    }

    pub(crate) fn geometry(&self) -> Geometry {
        Geometry {
            size: self.size,
            resize: self.short_side.map_or(Resize::Squash, Resize::ShortSide),
            filter: match self.bilinear {
                true => Filter::Bilinear,
                false => Filter::Bicubic,
            },
        }
    }

    /// T, frames in a reply.
    pub(crate) fn frames(&self) -> usize {
        match self.task {
            Task::Clip { frames } | Task::Windows { frames, .. } => frames,
            Task::Picture => 1,
        }
    }

    /// Bytes of the pixels in a reply.
    pub(crate) fn bytes(&self) -> usize {
        self.frames() * self.size * self.size * 3
    }
}

/// A reply; pixels follow those that have some.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The process is ready, confined so far.
    Ready { landlock: Kept, seccomp: bool },
    /// The frames of a whole video, or a picture.
    Clip { seen: Seen, note: Option<String> },
    /// The stream that was chosen.
    Choice(String),
    /// A window.
    Window {
        seen: Seen,
        start: f64,
        end: f64,
        of: usize,
    },
    /// The end of the windows, with the number of frames.
    End { frames: usize },
    /// The file cannot be decoded.
    Refused(Refusal),
}

/// How much of Landlock the kernel enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kept {
    Fully,
    Partially,
    Not,
}

/// The frames of a clip, without their pixels.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) indices: Vec<usize>,
    pub(crate) times: Vec<f64>,
    pub(crate) frame_count: usize,
}

/// The reason why a file is not decoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) kind: RefusalKind,
    pub(crate) reason: String,
    /// The limit of the server that was reached, and the switch of `predict` that allows it.
    pub(crate) limit: Option<String>,
    pub(crate) switch: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RefusalKind {
    /// Not a video, or not one of the containers and codecs that are opened.
    Format,
    /// Beyond a limit, damaged, or without a frame.
    Content,
    /// The process ended or was killed.
    Crash,
}

/// Sends a message.
pub(crate) fn send(
    mut socket: &UnixStream,
    header: &impl Serialize,
    body: &[u8],
) -> io::Result<()> {
    socket.write_all(&head(header, body.len())?)?;
    socket.write_all(body)
}

/// Sends a message with an open file.
pub(crate) fn send_file(
    mut socket: &UnixStream,
    header: &impl Serialize,
    file: impl AsFd,
) -> io::Result<()> {
    let bytes = head(header, 0)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let files = [file.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&files));
    let sent = sendmsg(
        socket,
        &[IoSlice::new(&bytes)],
        &mut ancillary,
        SendFlags::empty(),
    )?;
    socket.write_all(bytes.get(sent..).unwrap_or_default())
}

fn head(header: &impl Serialize, body: usize) -> io::Result<Vec<u8>> {
    let header = serde_json::to_vec(header)?;
    let length = |length: usize| u32::try_from(length).map_err(|_| invalid());
    let mut bytes = length(header.len())?.to_le_bytes().to_vec();
    bytes.extend(length(body)?.to_le_bytes());
    bytes.extend(header);
    Ok(bytes)
}

/// What was received: header, body, file.
type Received<T> = (T, Vec<u8>, Option<OwnedFd>);

/// Receives a message whose body has no byte, or exactly `expected`, and the file that was sent
/// along. `None` at the end.
///
/// # Errors
/// `TimedOut` or `WouldBlock` at the deadline; `InvalidData` for lengths that are not expected.
pub(crate) fn receive<T: DeserializeOwned>(
    socket: &UnixStream,
    expected: usize,
    deadline: Option<Instant>,
) -> io::Result<Option<Received<T>>> {
    let mut timed = Timed { socket, deadline };
    let mut head = [0; 8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut head)];
    timed.wait()?;
    let got = recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?.bytes;
    let file = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    if got == 0 {
        return Ok(None);
    }
    timed.read_exact(head.get_mut(got..).unwrap_or_default())?;
    let [h0, h1, h2, h3, b0, b1, b2, b3] = head;
    let header = u32::from_le_bytes([h0, h1, h2, h3]) as usize;
    let body = u32::from_le_bytes([b0, b1, b2, b3]) as usize;
    if header > HEADER || (body != 0 && body != expected) {
        return Err(invalid());
    }
    let mut bytes = vec![0; header];
    timed.read_exact(&mut bytes)?;
    let mut pixels = vec![0; body];
    timed.read_exact(&mut pixels)?;
    Ok(Some((serde_json::from_slice(&bytes)?, pixels, file)))
}

/// A socket whose reads end at a deadline, however slowly bytes arrive.
struct Timed<'a> {
    socket: &'a UnixStream,
    deadline: Option<Instant>,
}

impl Timed<'_> {
    fn wait(&self) -> io::Result<()> {
        // A confined process may not set options of its socket.
        let Some(deadline) = self.deadline else {
            return Ok(());
        };
        let left = deadline.saturating_duration_since(Instant::now());
        self.socket
            .set_read_timeout(Some(left.max(Duration::from_millis(1))))
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self
            .deadline
            .is_some_and(|deadline| deadline <= Instant::now())
        {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.wait()?;
        self.socket.read(buffer)
    }
}

fn invalid() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_file_and_a_header_arrive_and_wrong_lengths_do_not() {
        let (here, there) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"pictures").unwrap();
        let job = Job::new(Task::Clip { frames: 8 }, Geometry::openai(32));
        send_file(&here, &job, &file).unwrap();
        let (received, body, sent) = receive::<Job>(&there, 0, None).unwrap().unwrap();
        assert_eq!((received.frames(), body.len()), (8, 0));
        let sent = std::fs::File::from(sent.unwrap());
        assert_eq!(sent.metadata().unwrap().len(), 8);

        send(&there, &Reply::End { frames: 3 }, &[7; 12]).unwrap();
        let (_, body, _) = receive::<Reply>(&here, 12, None).unwrap().unwrap();
        assert_eq!(body, [7; 12]);
        send(&there, &Reply::End { frames: 3 }, &[7; 12]).unwrap();
        assert!(receive::<Reply>(&here, 13, None).is_err());

        let (here, there) = UnixStream::pair().unwrap();
        (&there).write_all(&[0xff; 8]).unwrap();
        assert!(receive::<Reply>(&here, 12, None).is_err());
        let (here, there) = UnixStream::pair().unwrap();
        drop(there);
        assert!(receive::<Reply>(&here, 12, None).unwrap().is_none());
    }
}

//! The decoding process: the one place where a stranger's video is opened. It is forked from a process
//! that has loaded all libraries and never sees a video, so that a new one is ready within milliseconds.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::path::Path;

use clips::ClipPixels;
use recogniser::{DecodedVideo, WindowEvent, decode_clip, decode_windows};
use video::{Limits, Video};

use crate::wire::{Job, Kept, Refusal, RefusalKind, Reply, Seen, Task};
use crate::{limits, sandbox, wire};

/// The name that a file has in errors.
const NAME: &str = "upload";

/// Forks a decoding process for each socket that arrives on standard input, a socket itself, until it is
/// closed; the one before is ended first, and the answer is the signal that ended it, if one did.
///
/// # Errors
/// Standard input is not such a socket, a limit cannot be set, or the server sends nonsense.
pub fn decode_worker() -> io::Result<()> {
    sandbox::close_inherited();
    let server = sandbox::input();
    let mut last = None;
    while let Some(((), _, socket)) = wire::receive::<()>(&server, 0, None)? {
        let socket = UnixStream::from(socket.ok_or(io::ErrorKind::InvalidData)?);
        let ended = last.map(sandbox::end).transpose()?.flatten();
        let Some(child) = sandbox::fork()? else {
            // A decoding process has no way to it.
            drop(server);
            return decode_files(&socket);
        };
        last = Some(child);
        wire::send(&server, &ended, &[])?;
    }
    Ok(())
}

/// Decodes the files that arrive until the socket is closed. Everything that decoding does not need is
/// given up before.
fn decode_files(socket: &UnixStream) -> io::Result<()> {
    sandbox::end_with_parent()?;
    let (landlock, seccomp) = confine()?;
    wire::send(socket, &Reply::Ready { landlock, seccomp }, &[])?;
    while let Some((job, _, file)) = wire::receive::<Job>(socket, 0, None)? {
        let file = File::from(file.ok_or(io::ErrorKind::InvalidData)?);
        sandbox::bound_processor(limits::PROCESSOR)?;
        decode(socket, &job, &file)?;
    }
    Ok(())
}

/// Gives up the rights that decoding does not need; how far the kernel enforces it.
fn confine() -> io::Result<(Kept, bool)> {
    sandbox::bound_decoding(limits::MEMORY)?;
    Ok((
        sandbox::leave_paths(&[], &[]),
        sandbox::leave_decoding_calls(),
    ))
}

/// Confines this thread as a decoding process is, for good.
///
/// # Errors
/// A limit cannot be set.
pub fn confine_decoding() -> io::Result<()> {
    confine().map(drop)
}

/// The limits on an uploaded video.
#[must_use]
pub fn upload_limits() -> Limits {
    limits::video()
}

/// Answers one job. The last reply is a clip, the end of the windows, or a refusal.
fn decode(socket: &UnixStream, job: &Job, file: &File) -> io::Result<()> {
    let limits = match job.task {
        Task::Picture => limits::picture(),
        _ => limits::video(),
    };
    let name = Path::new(NAME);
    let open = || {
        let file = file.try_clone().map_err(|source| video::Error::Io {
            path: name.into(),
            source,
        })?;
        Video::of_file(name, file, &limits, None)
    };
    let geometry = job.geometry();
    let failed = match &job.task {
        Task::Clip { .. } | Task::Picture => {
            match decode_clip(name, open, job.frames(), geometry) {
                Ok(DecodedVideo { clip, note }) => {
                    let seen = seen(&clip);
                    return wire::send(socket, &Reply::Clip { seen, note }, &clip.rgb);
                }
                Err(error) => error,
            }
        }
        Task::Windows {
            frames,
            window,
            stride,
        } => {
            let mut sent = Ok(());
            let mut emit = |event| {
                sent = match &event {
                    WindowEvent::Choice(choice) => {
                        wire::send(socket, &Reply::Choice(choice.clone()), &[])
                    }
                    WindowEvent::Part(part) => {
                        let reply = Reply::Window {
                            seen: seen(&part.clip),
                            start: part.start,
                            end: part.end,
                            of: part.of,
                        };
                        wire::send(socket, &reply, &part.clip.rgb)
                    }
                    WindowEvent::End(frames) => {
                        wire::send(socket, &Reply::End { frames: *frames }, &[])
                    }
                };
                match sent {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            };
            let decoded = (|| {
                let span = |text: &str| text.parse().map_err(recogniser::Error::NoSpan);
                let (window, stride) = (span(window)?, span(stride)?);
                let mut video = open()?;
                Ok::<_, recogniser::Error>(decode_windows(
                    &mut video, *frames, window, stride, geometry, &mut emit,
                )?)
            })();
            match decoded {
                Ok(()) => return sent,
                Err(error) => error,
            }
        }
    };
    wire::send(socket, &Reply::Refused(refusal(&failed, &limits)), &[])
}

fn seen(clip: &ClipPixels) -> Seen {
    Seen {
        indices: clip.indices.clone(),
        times: clip.times.clone(),
        frame_count: clip.frame_count,
    }
}

/// The error in the words of the server: without a path, with the limit.
fn refusal(error: &recogniser::Error, limits: &Limits) -> Refusal {
    let mut reason = error.to_string();
    for named in [format!("{NAME:?}: "), format!("{NAME}: ")] {
        if let Some(rest) = reason.strip_prefix(&named) {
            reason = rest.to_owned();
        }
    }
    let source = error.video();
    let (mut limit, mut switch) = (None, None);
    if let Some((name, value)) = source.and_then(video::Error::limit) {
        limit = Some(name.to_owned());
        switch = SWITCHES.contains(&name).then(|| {
            let value = value.unwrap_or_else(|| "N".into());
            format!("--{} {value}", name.replace('_', "-"))
        });
    }
    let kind = match source {
        Some(video::Error::Refused { format, .. }) if limits.formats == limits::video().formats => {
            if video::FORMATS
                .iter()
                .any(|open| format.split(',').any(|name| name == *open))
            {
                limit = Some("formats".into());
            }
            RefusalKind::Format
        }
        Some(video::Error::Codec { .. }) => {
            limit = Some("codecs".into());
            RefusalKind::Format
        }
        Some(
            video::Error::NotAVideo { .. }
            | video::Error::Refused { .. }
            | video::Error::AudioOnly { .. }
            | video::Error::NoVideo { .. }
            | video::Error::NoDecoder { .. }
            | video::Error::Empty { .. },
        ) => RefusalKind::Format,
        _ => RefusalKind::Content,
    };
    Refusal {
        kind,
        reason,
        limit,
        switch,
    }
}

/// The limits that `predict` has a switch for.
const SWITCHES: [&str; 4] = ["max_pixels", "max_damaged", "max_packets", "max_memory"];

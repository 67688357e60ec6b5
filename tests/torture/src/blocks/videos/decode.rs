//! A child's decoding of one file.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;

use recogniser::decode_clip;
use video::{Error, Frame, Limits, Video};

use super::Request;
use crate::child::Reply;

/// A frame, short enough to keep.
#[derive(PartialEq)]
struct Print {
    time: f64,
    width: usize,
    height: usize,
    hash: String,
}

fn print(frame: &Frame) -> Print {
    Print {
        time: frame.time,
        width: frame.width,
        height: frame.height,
        hash: disk::sha256(&frame.rgb),
    }
}

/// Decodes as the command line does: every way to the frames gives those of the sequential decode.
pub(crate) fn plain(request: &Request) -> Reply {
    let outcome = every_way(request.path());
    if request.changes && outcome.is_err() {
        return Reply::Done;
    }
    match (outcome, request.frames) {
        (Ok(Ok(count)), Some(expected)) if count != expected => {
            Reply::Failed(format!("{count} frames, not {expected}"))
        }
        (Ok(Ok(_)), _) => Reply::Done,
        (Ok(Err(error)), Some(_)) => Reply::Failed(format!("refused: {error}")),
        (Ok(Err(error)), None) => refused(&error),
        (Err(words), _) => Reply::Failed(words),
    }
}

fn refused(error: &Error) -> Reply {
    let said = error.to_string();
    if said.chars().any(char::is_control) {
        return Reply::Failed(format!("the error has control characters: {said:?}"));
    }
    let variant = format!("{error:?}");
    let end = variant.find(|c: char| !c.is_alphanumeric());
    Reply::Refused(variant[..end.unwrap_or(variant.len())].to_owned())
}

/// The number of frames, or the error; a difference in words.
fn every_way(path: &Path) -> Result<Result<usize, Error>, String> {
    let open = || Video::open(path, &Limits::default());
    let mut expected = Vec::new();
    let sequential = open().and_then(|mut video| {
        video.for_each_frame(|frame| {
            expected.push(print(&frame));
            ControlFlow::Continue(())
        })
    });
    let counted = open().and_then(|mut video| video.count_frames());
    let count = match (counted, sequential) {
        (Ok(count), Ok(())) => count,
        (Err(error), Err(_)) => return Ok(Err(error)),
        (Ok(_), Err(error)) => return Err(format!("counted, but not decoded: {error}")),
        (Err(error), Ok(())) => return Err(format!("decoded, but not counted: {error}")),
    };
    let all = expected.len();
    if count.frames != all || all == 0 {
        return Err(format!("{count:?} counted, {all} decoded"));
    }
    if !expected.iter().map(|frame| frame.time).is_sorted() {
        return Err("times are not in order".into());
    }
    let indices = [all - 1, 0, all / 2, all / 3, all - 1];
    let same = |way: &str, frames: Result<Vec<Frame>, Error>| match frames {
        Err(error) => Err(format!("{way}: {error}")),
        Ok(frames) => {
            let got = frames.iter().map(print);
            match got.eq(indices.iter().map(|&index| &expected[index]).map(copy)) {
                true => Ok(()),
                false => Err(format!("{way}: other frames than in sequence")),
            }
        }
    };
    same(
        "by index",
        open().and_then(|mut video| video.frames(&indices)),
    )?;
    let sampled = open().and_then(|mut video| video.sample(|_| indices.to_vec()));
    same("sampled", sampled.map(|sample| sample.frames))?;
    let verified = open().and_then(|mut video| video.verify());
    let verified = verified.map_err(|error| format!("verified: {error}"))?;
    if verified.count != count {
        return Err(format!("{:?} verified, {count:?} counted", verified.count));
    }
    if let Some(known) = verified.known {
        let known = open().and_then(|mut video| video.frames_of(known, &indices));
        same("of a known number", known)?;
    }
    match open().and_then(|mut video| video.frames(&[all])) {
        Err(Error::NoSuchFrame { .. }) => Ok(Ok(all)),
        Err(error) => Err(format!("the frame after the last: {error}")),
        Ok(_) => Err("gave a frame after the last".into()),
    }
}

fn copy(print: &Print) -> Print {
    Print {
        hash: print.hash.clone(),
        ..*print
    }
}

/// Decodes the file of a confined process as the server does.
pub(crate) fn confined(file: &File, request: &Request) -> Reply {
    let limits = serve::upload_limits();
    let name = Path::new("upload");
    let open = || {
        let file = file.try_clone();
        let file = file.map_err(|source| Error::Io {
            path: name.into(),
            source,
        })?;
        Video::of_file(name, file, &limits, None)
    };
    let (frames, side) = (4, 32);
    match decode_clip(name, open, frames, pixels::Geometry::openai(side)) {
        Ok(decoded) => {
            let clip = decoded.clip;
            let fits = clip.rgb.len() == frames * side * side * 3
                && clip.indices.len() == frames
                && clip.times.iter().all(|time| time.is_finite())
                && clip.indices.iter().all(|index| *index < clip.frame_count)
                && request.frames.is_none_or(|count| count == clip.frame_count);
            match fits {
                true => Reply::Done,
                false => Reply::Failed(format!("a clip of {} frames", clip.frame_count)),
            }
        }
        Err(error) => match error.video() {
            Some(error) => refused(error),
            None => Reply::Failed(format!("no error of a video: {error}")),
        },
    }
}

//! A video file and its frames.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use super::{DecodeError, Limits, Orientation, av::Demuxer, file, pass::Pass, tape::Tape};
use crate::Frame;

/// An open video file.
///
/// The frame of index i is the i-th that a full sequential decode by FFmpeg puts out,
/// counted from 0. Pictures that an edit list hides are none. Not the container's header
/// nor its timestamps have a say.
pub struct Video {
    path: PathBuf,
    limits: Limits,
    header: Header,
    tape: Tape,
}

/// What the header says. Only a full decode tells what is true of it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Header {
    /// FFmpeg's name of the container, `"avi"` or `"mov,mp4,m4a,3gp,3g2,mj2"`.
    pub container: String,
    /// FFmpeg's name of the decoder, `"mpeg4"` or `"h264"`.
    pub codec: String,
    /// Width as shown, in pixels; 0 where the header does not say.
    pub width: usize,
    /// Height as shown, in pixels; 0 where the header does not say.
    pub height: usize,
    /// Number of frames, where one is claimed.
    pub frames: Option<usize>,
    /// How the stored pixels are turned to be shown.
    pub orientation: Orientation,
}

/// What decodes of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameCount {
    /// Frames that a full sequential decode puts out.
    pub frames: usize,
    /// Packets of the video stream.
    pub packets: usize,
    /// Packets that the decoder refused.
    pub corrupt_packets: usize,
    /// Frames among `frames` of which the decoder made up a part.
    pub damaged_frames: usize,
}

/// Frames chosen by the number of frames there are.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What decodes of the stream.
    pub count: FrameCount,
    /// The frames chosen, in the order in which they were chosen.
    pub frames: Vec<Frame>,
}

impl Video {
    /// Opens a file. Its kind is told from its content, never from its name, and nothing
    /// but this file is opened.
    ///
    /// # Errors
    /// A file that is missing, may not be read, is a folder, a pipe or a device, is empty,
    /// or fails to be read; content that is no video, or of a format that is refused; a
    /// damaged header; no video stream; no decoder for it; more streams or pixels than
    /// `limits` allow.
    pub fn open(path: &Path, limits: &Limits) -> Result<Self, DecodeError> {
        let demuxer = Demuxer::open(path, file::open(path)?, limits)?;
        let claims = demuxer.claims();
        let (width, height) = claims.orientation.size(claims.width, claims.height);
        let header = Header {
            container: demuxer.format().to_owned(),
            codec: demuxer.codec_name(),
            width,
            height,
            frames: claims.frames,
            orientation: claims.orientation,
        };
        let (path, limits) = (path.to_path_buf(), limits.clone());
        Ok(Self {
            path,
            limits,
            header,
            tape: Tape::new(demuxer),
        })
    }

    /// What the header says.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Decodes everything and counts the frames.
    ///
    /// # Errors
    /// A stream of which nothing decodes, or of which more is damaged than the limits
    /// allow; a limit; a failing disk.
    pub fn count_frames(&mut self) -> Result<FrameCount, DecodeError> {
        let mut pass = self.pass()?;
        while pass.next()?.is_some() {}
        Ok(pass.count())
    }

    /// The frames of the given indices, in the order given; an index may come again.
    /// Decoding stops at the last one that is wanted.
    ///
    /// # Errors
    /// An index that no frame has; a stream of which nothing decodes; a limit; a failing
    /// disk. That too much of the stream is damaged is known, and said, only where decoding
    /// reached its end.
    pub fn frames(&mut self, indices: &[usize]) -> Result<Vec<Frame>, DecodeError> {
        let Some(&last) = indices.iter().max() else {
            return Ok(Vec::new());
        };
        let mut chosen = Chosen::new(indices);
        let mut pass = self.pass()?;
        while let Some(index) = pass.next()? {
            if chosen.wants(index) {
                chosen.keep(pass.frame()?, &pass)?;
            }
            if index == last {
                break;
            }
        }
        let count = pass.count().frames;
        if count <= last {
            return Err(self.no_such_frame(last, count));
        }
        Ok(chosen.in_order(indices))
    }

    /// The frames that `choose` wants, when told how many there are: at least one. It may be
    /// asked twice, first with a guess, of which only the exact answer is kept. Decodes the
    /// file once where the guess was right, which it most often is, and up to the last frame
    /// wanted again where it was not.
    ///
    /// # Errors
    /// As [`count_frames`](Self::count_frames), and a chosen index that no frame has.
    pub fn sample(&mut self, choose: impl Fn(usize) -> Vec<usize>) -> Result<Sample, DecodeError> {
        self.rewind()?;
        // Most often each packet is a frame; if not, the header may still be right.
        let guess = match self.tape.packets(&self.path, &self.limits)? {
            Some(packets) => Some(packets).filter(|&packets| packets > 0),
            None => self
                .header
                .frames
                .filter(|&frames| frames <= self.limits.max_frames),
        };
        let guessed = guess.map(&choose).unwrap_or_default();
        let mut chosen = Chosen::new(&guessed);
        let mut pass = self.pass()?;
        while let Some(index) = pass.next()? {
            if chosen.wants(index) {
                chosen.keep(pass.frame()?, &pass)?;
            }
        }
        let count = pass.count();
        if guess == Some(count.frames) && chosen.is_complete() {
            return Ok(Sample {
                count,
                frames: chosen.in_order(&guessed),
            });
        }
        let frames = self.frames(&choose(count.frames))?;
        Ok(Sample { count, frames })
    }

    /// Hands every frame to `each`, in order, until that breaks off. This is the plain
    /// sequential decode that all else is exact against.
    ///
    /// # Errors
    /// As [`count_frames`](Self::count_frames); what is wrong with the whole stream is
    /// said after its last frame.
    pub fn for_each_frame(
        &mut self,
        mut each: impl FnMut(Frame) -> ControlFlow<()>,
    ) -> Result<(), DecodeError> {
        let mut pass = self.pass()?;
        while pass.next()?.is_some() {
            if each(pass.frame()?).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn no_such_frame(&self, index: usize, count: usize) -> DecodeError {
        DecodeError::NoSuchFrame {
            path: self.path.clone(),
            index,
            count,
        }
    }

    /// A run from the first packet on.
    fn pass(&mut self) -> Result<Pass<'_>, DecodeError> {
        self.rewind()?;
        Pass::new(&self.path, &self.limits, &mut self.tape)
    }

    /// Back to the first packet. Where that is gone the file is opened anew: a container
    /// that FFmpeg rewound does not always give what it gave at first.
    fn rewind(&mut self) -> Result<(), DecodeError> {
        if !self.tape.rewind() {
            let demuxer = Demuxer::open(&self.path, file::open(&self.path)?, &self.limits)?;
            self.tape = Tape::new(demuxer);
        }
        Ok(())
    }
}

/// Frames picked out of a pass.
struct Chosen {
    slots: BTreeMap<usize, Slot>,
    bytes: u64,
}

#[derive(Default)]
struct Slot {
    times: u64,
    frame: Option<Frame>,
}

impl Chosen {
    fn new(indices: &[usize]) -> Self {
        let mut slots = BTreeMap::<usize, Slot>::new();
        for &index in indices {
            slots.entry(index).or_default().times += 1;
        }
        Self { slots, bytes: 0 }
    }

    fn wants(&self, index: usize) -> bool {
        self.slots.contains_key(&index)
    }

    fn keep(&mut self, frame: Frame, pass: &Pass<'_>) -> Result<(), DecodeError> {
        let Some(slot) = self.slots.get_mut(&frame.index) else {
            return Ok(());
        };
        self.bytes += frame.rgb.len() as u64 * slot.times;
        pass.check_returned(self.bytes)?;
        slot.frame = Some(frame);
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.slots.values().all(|slot| slot.frame.is_some())
    }

    /// The frames in the order of `indices`, of which all must be there.
    fn in_order(mut self, indices: &[usize]) -> Vec<Frame> {
        let take = |index| {
            let slot = self.slots.get_mut(index)?;
            slot.times -= 1;
            if slot.times == 0 {
                slot.frame.take()
            } else {
                slot.frame.clone()
            }
        };
        indices.iter().filter_map(take).collect()
    }
}

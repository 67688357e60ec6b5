//! A video file and its frames.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use super::{
    Error, Limits, Orientation,
    av::{Demuxer, Packet},
    file,
    pass::Pass,
    script::{Coded, Script},
    tape::Tape,
};
use crate::{Frame, FrameSink};
use pixels::{Rows, whole};

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
    /// Whether its packets have times of their own.
    timed: bool,
    decoded: usize,
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

/// What [`Video::verify`] found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What decodes of the stream.
    pub count: FrameCount,
    /// The number of frames where it may be told to [`Video::frames_of`]: nothing is damaged,
    /// and the frames are those that the packets promise.
    pub known: Option<usize>,
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
    pub fn open(path: &Path, limits: &Limits) -> Result<Self, Error> {
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
            timed: claims.timed,
            tape: Tape::new(demuxer),
            decoded: 0,
        })
    }

    /// What the header says.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Packets that all calls so far have handed to a decoder: what they cost.
    #[must_use]
    pub fn packets_decoded(&self) -> usize {
        self.decoded
    }

    /// Decodes everything and counts the frames.
    ///
    /// # Errors
    /// A stream of which nothing decodes, or of which more is damaged than the limits
    /// allow; a limit; a failing disk.
    pub fn count_frames(&mut self) -> Result<FrameCount, Error> {
        let mut pass = self.pass()?;
        while pass.next()?.is_some() {}
        let count = pass.count();
        self.decoded += count.packets;
        Ok(count)
    }

    /// Decodes everything, and finds out whether the frames are those that the packets
    /// promise: then [`frames_of`](Self::frames_of) may be told their number.
    ///
    /// # Errors
    /// As [`count_frames`](Self::count_frames).
    pub fn verify(&mut self) -> Result<Verified, Error> {
        let script = self.script()?;
        let mut pass = self.pass()?;
        let mut pictures = Vec::new();
        while pass.next()?.is_some() {
            pictures.push(pass.picture());
        }
        let count = pass.count();
        self.decoded += count.packets;
        let whole = count.corrupt_packets + count.damaged_frames == 0;
        let kept = script.is_none_or(|script| script.agrees(&pictures));
        Ok(Verified {
            count,
            known: Some(count.frames).filter(|_| whole && kept),
        })
    }

    /// As [`frames`](Self::frames), of a video of which [`verify`](Self::verify) has found
    /// that its number of frames may be known. What leads to none of the frames wanted is not
    /// decoded: other groups of pictures, and pictures that no other needs.
    ///
    /// # Errors
    /// As [`frames`](Self::frames).
    pub fn frames_of(&mut self, known: usize, indices: &[usize]) -> Result<Vec<Frame>, Error> {
        let mut kept = Kept::new(|_| indices.to_vec());
        self.show_of(known, &mut kept)?;
        Ok(kept.in_order())
    }

    /// As [`frames_of`](Self::frames_of), to be looked at while they are decoded.
    ///
    /// # Errors
    /// As [`frames`](Self::frames).
    pub fn show_of(&mut self, known: usize, sink: &mut dyn FrameSink) -> Result<(), Error> {
        let script = self.script()?;
        let indices = sink.choose(known);
        let fits = |script: &Script| {
            script.order.len() == known && indices.iter().all(|&index| index < known)
        };
        if let Some(script) = script.filter(fits)
            && let Ok(true) = self.planned(&script, &indices, sink)
        {
            return Ok(());
        }
        // Whatever is odd is left to the plain way, with its errors.
        let indices = sink.choose(known);
        self.plain(&indices, sink)
    }

    /// The frames of the given indices, in the order given; an index may come again.
    /// Decoding stops at the last one that is wanted.
    ///
    /// # Errors
    /// An index that no frame has; a stream of which nothing decodes; a limit; a failing
    /// disk. That too much of the stream is damaged is known, and said, only where decoding
    /// reached its end.
    pub fn frames(&mut self, indices: &[usize]) -> Result<Vec<Frame>, Error> {
        let mut kept = Kept::new(|_| indices.to_vec());
        let indices = kept.choose(0);
        self.plain(&indices, &mut kept)?;
        Ok(kept.in_order())
    }

    /// The frames that `choose` wants, when told how many there are: at least one. It may be
    /// asked twice, first with a guess, of which only the exact answer is kept. Decodes the
    /// file once where the guess was right, which it most often is, and up to the last frame
    /// wanted again where it was not.
    ///
    /// # Errors
    /// As [`count_frames`](Self::count_frames), and a chosen index that no frame has.
    pub fn sample(&mut self, choose: impl Fn(usize) -> Vec<usize>) -> Result<Sample, Error> {
        let mut kept = Kept::new(choose);
        let count = self.show(&mut kept)?;
        Ok(Sample {
            count,
            frames: kept.in_order(),
        })
    }

    /// As [`sample`](Self::sample), to be looked at while they are decoded.
    ///
    /// # Errors
    /// As [`sample`](Self::sample).
    pub fn show(&mut self, sink: &mut dyn FrameSink) -> Result<FrameCount, Error> {
        self.rewind()?;
        // Most often each packet is a frame; if not, the header may still be right.
        let guess = match self.tape.packets(&self.path, &self.limits)? {
            Some(packets) => Some(packets.len()).filter(|&packets| packets > 0),
            None => self
                .header
                .frames
                .filter(|&frames| frames <= self.limits.max_frames),
        };
        let guessed = guess.map(|count| sink.choose(count)).unwrap_or_default();
        let mut wanted = Wanted::new(&guessed);
        let mut pass = self.pass()?;
        while let Some(index) = pass.next()? {
            wanted.hand_over(index, &mut pass, sink)?;
        }
        let count = pass.count();
        self.decoded += count.packets;
        if guess != Some(count.frames) || !wanted.is_empty() {
            let indices = sink.choose(count.frames);
            self.plain(&indices, sink)?;
        }
        Ok(count)
    }

    /// When each frame should be shown, in seconds from the start, rising: what the packets
    /// promise. Reads the file once and decodes nothing, so that a video of hours can be
    /// planned; only a decode tells whether each promise is kept.
    ///
    /// # Errors
    /// A limit; a failing disk.
    pub fn promised_times(&mut self) -> Result<Vec<f64>, Error> {
        self.rewind()?;
        let claims = self.tape.demuxer().claims();
        let mut times = Vec::new();
        while let Some(packet) = self.tape.next(&self.path, &self.limits)? {
            if packet.is_shown() {
                times.push(claims.seconds(packet.time(), times.len()));
            }
        }
        times.sort_by(f64::total_cmp);
        Ok(times)
    }

    /// Hands a frame for each of `times` (seconds, rising) to `each`, in one decode: the first
    /// frame shown then or later, or the last one after its end. One frame is held at a time.
    ///
    /// # Errors
    /// As [`count_frames`](Self::count_frames); what is wrong with the whole stream is said
    /// after its last frame.
    pub fn frames_at(
        &mut self,
        times: &[f64],
        mut each: impl FnMut(Frame) -> ControlFlow<()>,
    ) -> Result<FrameCount, Error> {
        let mut wanted = times.iter().peekable();
        let mut pass = self.pass()?;
        while let Some(index) = pass.next()? {
            let time = pass.seconds(index);
            while wanted.next_if(|wanted| **wanted <= time).is_some() {
                if each(pass.frame(index)?).is_break() {
                    return Ok(pass.count());
                }
            }
        }
        let count = pass.count();
        self.decoded += count.packets;
        if wanted.peek().is_some() {
            for frame in self.frames(&vec![count.frames - 1; wanted.len()])? {
                if each(frame).is_break() {
                    break;
                }
            }
        }
        Ok(count)
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
    ) -> Result<(), Error> {
        let mut pass = self.pass()?;
        while let Some(index) = pass.next()? {
            if each(pass.frame(index)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// What the packets promise; `None` where that cannot be read of them.
    fn script(&mut self) -> Result<Option<Script>, Error> {
        let Some(coding) = self.tape.demuxer().coding() else {
            return Ok(None);
        };
        self.rewind()?;
        let packets = self.tape.packets(&self.path, &self.limits)?;
        let Some(packets) = packets.filter(|all| all.iter().all(Packet::is_plain)) else {
            return Ok(None);
        };
        let timed = self.timed;
        let coded = packets.iter().map(|packet| Coded {
            bytes: packet.bytes(),
            time: packet.time().filter(|_| timed),
        });
        Ok(Script::read(&coding, coded))
    }

    /// Hands over the frames of these indices, and decodes up to the last of them.
    fn plain(&mut self, indices: &[usize], sink: &mut dyn FrameSink) -> Result<(), Error> {
        let Some(&last) = indices.iter().max() else {
            return Ok(());
        };
        let mut wanted = Wanted::new(indices);
        let mut pass = self.pass()?;
        while let Some(index) = pass.next()? {
            wanted.hand_over(index, &mut pass, sink)?;
            if index == last {
                break;
            }
        }
        let count = pass.count();
        self.decoded += count.packets;
        if count.frames <= last {
            return Err(self.no_such_frame(last, count.frames));
        }
        Ok(())
    }

    /// The same, by decoding only what leads to the frames; `false` where something else came
    /// out than was promised, or where that would be no less than the plain way.
    fn planned(
        &mut self,
        script: &Script,
        indices: &[usize],
        sink: &mut dyn FrameSink,
    ) -> Result<bool, Error> {
        let needed = script.needed(indices);
        if needed.last().is_none_or(|last| last + 1 == needed.len()) {
            return Ok(false);
        }
        let units = needed
            .iter()
            .filter_map(|unit| script.units.get(*unit).cloned());
        let mut expected = script.outcome(&needed);
        let mut wanted = Wanted::new(indices);
        self.rewind()?;
        let mut pass = Pass::of(&self.path, &self.limits, &mut self.tape, units.collect())?;
        let mut before = None;
        while !wanted.is_empty() {
            let Some(_) = pass.next()? else { break };
            let (time, role) = pass.picture();
            let index = expected.next(time, role).filter(|_| pass.is_whole());
            // Frames are handed over in rising order.
            let Some(index) = index.filter(|&index| Some(index) > before) else {
                return Ok(false);
            };
            before = Some(index);
            wanted.hand_over(index, &mut pass, sink)?;
        }
        let decoded = pass.count().packets;
        self.decoded += decoded;
        Ok(wanted.is_empty())
    }

    fn no_such_frame(&self, index: usize, count: usize) -> Error {
        Error::NoSuchFrame {
            path: self.path.clone(),
            index,
            count,
        }
    }

    /// A run from the first packet on.
    fn pass(&mut self) -> Result<Pass<'_>, Error> {
        self.rewind()?;
        Pass::new(&self.path, &self.limits, &mut self.tape)
    }

    /// Back to the first packet. Where that is gone the file is opened anew: a container
    /// that FFmpeg rewound does not always give what it gave at first.
    fn rewind(&mut self) -> Result<(), Error> {
        if !self.tape.rewind() {
            let demuxer = Demuxer::open(&self.path, file::open(&self.path)?, &self.limits)?;
            self.tape = Tape::new(demuxer);
        }
        Ok(())
    }
}

/// Frames that are still to come out of a pass, and how many times each is wanted.
struct Wanted {
    times: BTreeMap<usize, u64>,
    bytes: u64,
}

impl Wanted {
    fn new(indices: &[usize]) -> Self {
        let mut times = BTreeMap::new();
        for &index in indices {
            *times.entry(index).or_default() += 1;
        }
        Self { times, bytes: 0 }
    }

    fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Hands over the current picture of `pass`, where it is wanted.
    fn hand_over(
        &mut self,
        index: usize,
        pass: &mut Pass<'_>,
        sink: &mut dyn FrameSink,
    ) -> Result<(), Error> {
        if let Some(times) = self.times.remove(&index) {
            self.bytes += pass.bytes() * times;
            pass.check_returned(self.bytes)?;
            let time = pass.seconds(index);
            sink.take(index, time, &mut pass.shown(index)?);
        }
        Ok(())
    }
}

/// Keeps the frames that `choose` wants.
struct Kept<F> {
    choose: F,
    chosen: Vec<usize>,
    frames: BTreeMap<usize, Frame>,
}

impl<F: Fn(usize) -> Vec<usize>> Kept<F> {
    fn new(choose: F) -> Self {
        Self {
            choose,
            chosen: Vec::new(),
            frames: BTreeMap::new(),
        }
    }

    /// The frames in the order in which they were chosen.
    fn in_order(mut self) -> Vec<Frame> {
        let mut left = Wanted::new(&self.chosen).times;
        let take = |index| {
            let left = left.get_mut(index)?;
            *left -= 1;
            match *left {
                0 => self.frames.remove(index),
                _ => self.frames.get(index).cloned(),
            }
        };
        self.chosen.iter().filter_map(take).collect()
    }
}

impl<F: Fn(usize) -> Vec<usize>> FrameSink for Kept<F> {
    fn choose(&mut self, count: usize) -> Vec<usize> {
        self.frames.clear();
        self.chosen = (self.choose)(count);
        self.chosen.clone()
    }

    fn take(&mut self, index: usize, time: f64, picture: &mut dyn Rows) {
        let frame = Frame {
            index,
            time,
            width: picture.width(),
            height: picture.height(),
            rgb: whole(picture),
        };
        self.frames.insert(index, frame);
    }
}

//! A video file and its frames.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Error, Limits, Orientation,
    av::{Demuxer, Packet},
    file,
    pass::Pass,
    script::{Coded, Script},
    tape::Tape,
    timing::{Clock, Timing},
};
use crate::{Frame, FrameSink, VideoStream};
use pixels::{Rows, whole};

/// An open video file.
///
/// The frame of index i is the i-th that a full sequential decode by FFmpeg puts out,
/// counted from 0. Pictures that an edit list hides do not count. Neither the container's
/// header nor its timestamps are considered. Time counts from the first frame. Frames are shown
/// upright, mirrored if need be, and in square pixels.
pub struct Video {
    path: PathBuf,
    /// None of a stream, which is read once.
    file: Option<Arc<File>>,
    limits: Limits,
    header: Header,
    tape: Tape,
    /// Whether its packets have times of their own.
    timed: bool,
    decoded: usize,
}

/// The header's claims. Only a full decode verifies them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Header {
    /// FFmpeg's name of the container, `"avi"` or `"mov,mp4,m4a,3gp,3g2,mj2"`.
    pub container: String,
    /// FFmpeg's name of the decoder, `"mpeg4"` or `"h264"`.
    pub codec: String,
    /// The index of the stream that is decoded, among all streams of the container.
    pub stream: usize,
    /// The video streams that may be the film, in the container's order: all but cover pictures.
    pub streams: Vec<VideoStream>,
    /// Width as shown, in square pixels; 0 where the header does not say.
    pub width: usize,
    /// Height as shown, in square pixels; 0 where the header does not say.
    pub height: usize,
    /// Number of frames, if one is claimed.
    pub frames: Option<usize>,
    /// How the stored pixels are oriented for display.
    pub orientation: Orientation,
}

impl Header {
    /// Which stream is decoded, in words; `None` if there was no choice.
    #[must_use]
    pub fn choice(&self) -> Option<String> {
        (self.streams.len() > 1).then(|| {
            let streams = VideoStream::list(&self.streams);
            format!(
                "stream {} is read, of its video streams {streams}",
                self.stream
            )
        })
    }
}

/// Counts of a decoded stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameCount {
    /// Frames that a full sequential decode puts out.
    pub frames: usize,
    /// Packets of the video stream.
    pub packets: usize,
    /// Packets that the decoder refused.
    pub corrupt_packets: usize,
    /// Frames among `frames` with concealed errors.
    pub damaged_frames: usize,
}

/// The result of [`Video::verify`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Counts of the decoded stream.
    pub count: FrameCount,
    /// The number of frames, if it may be passed to [`Video::frames_of`]: nothing is damaged,
    /// and the frames are those stated by the packets.
    pub known: Option<usize>,
}

/// Frames chosen by the total number of frames.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Counts of the decoded stream.
    pub count: FrameCount,
    /// The frames chosen, in the order in which they were chosen.
    pub frames: Vec<Frame>,
}

impl Video {
    /// Opens a file. Its format is detected from its content, never from its name, and only
    /// this file is opened.
    ///
    /// The frames are those of the film: the video stream that moves and lasts, see
    /// [`Header::streams`].
    ///
    /// # Errors
    /// A file that is missing, may not be read, is a folder, a pipe or a device, is empty,
    /// or fails to be read; content that is not a video, or of a refused format; a
    /// damaged header; no video stream; no decoder for it; more streams or pixels than
    /// `limits` allow.
    pub fn open(path: &Path, limits: &Limits) -> Result<Self, Error> {
        Self::open_stream(path, limits, None)
    }

    /// As [`open`](Self::open), with the video stream of this index among all streams of the
    /// container.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`Error::NoSuchStream`].
    pub fn open_stream(path: &Path, limits: &Limits, stream: Option<usize>) -> Result<Self, Error> {
        Self::of_file(path, file::open(path)?, limits, stream)
    }

    /// As [`open_stream`](Self::open_stream), of an open file: nothing is opened by name, and errors
    /// say `name`.
    ///
    /// # Errors
    /// As [`open_stream`](Self::open_stream).
    pub fn of_file(
        name: &Path,
        file: File,
        limits: &Limits,
        stream: Option<usize>,
    ) -> Result<Self, Error> {
        file::check(name, &file)?;
        let file = Arc::new(file);
        let demuxer = Demuxer::open(name, &file, limits, stream)?;
        Ok(Self::new(name, Some(file), demuxer, limits))
    }

    /// A video whose `bytes` can be read once, such as those of a pipe: for one
    /// [`visit`](Self::visit). Anything that would read them again is an error once they are more
    /// than 64 MiB.
    ///
    /// # Errors
    /// As [`open`](Self::open); a container whose header is at its end.
    pub fn of_stream(
        name: &Path,
        bytes: impl Read + Send + 'static,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let demuxer = Demuxer::of_stream(name, bytes, limits)?;
        Ok(Self::new(name, None, demuxer, limits))
    }

    fn new(name: &Path, file: Option<Arc<File>>, demuxer: Demuxer, limits: &Limits) -> Self {
        let claims = demuxer.claims();
        let (width, height) = claims.size();
        let header = Header {
            container: demuxer.format().to_owned(),
            codec: demuxer.codec_name(),
            stream: demuxer.index(),
            streams: demuxer.candidates().to_vec(),
            width,
            height,
            frames: claims.frames,
            orientation: claims.orientation,
        };
        Self {
            path: name.to_path_buf(),
            file,
            limits: limits.clone(),
            header,
            timed: claims.timed,
            tape: Tape::new(demuxer),
            decoded: 0,
        }
    }

    /// What the header says.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Packets that all calls so far have sent to a decoder: their cost.
    #[must_use]
    pub fn packets_decoded(&self) -> usize {
        self.decoded
    }

    /// Decodes everything and counts the frames.
    ///
    /// # Errors
    /// A stream of which no frame decodes, or of which more is damaged than the limits
    /// allow; a limit; a failing disk.
    pub fn count_frames(&mut self) -> Result<FrameCount, Error> {
        let mut pass = self.pass()?;
        while pass.next()?.is_some() {}
        let count = pass.count();
        self.decoded += count.packets;
        Ok(count)
    }

    /// Decodes everything, and checks whether the frames are those stated by the packets:
    /// then their number may be passed to [`frames_of`](Self::frames_of).
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

    /// As [`frames`](Self::frames), for a video whose number of frames [`verify`](Self::verify)
    /// has confirmed. Pictures that no wanted frame needs are not decoded: other groups of
    /// pictures, and pictures that no other needs.
    ///
    /// # Errors
    /// As [`frames`](Self::frames).
    pub fn frames_of(&mut self, known: usize, indices: &[usize]) -> Result<Vec<Frame>, Error> {
        let mut kept = Kept::new(&self.limits, |_| indices.to_vec());
        self.show_of(known, &mut kept)?;
        kept.in_order(&self.path)
    }

    /// As [`frames_of`](Self::frames_of), for access while they are decoded.
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
        // Unusual cases are left to the sequential decode, with its errors.
        let indices = sink.choose(known);
        self.plain(&indices, sink)
    }

    /// The frames of the given indices, in the order given; an index may be repeated.
    /// Decoding stops at the last one that is wanted.
    ///
    /// # Errors
    /// An index beyond the last frame; a stream of which no frame decodes; a limit; a failing
    /// disk. Too much damage in the stream is detected, and reported, only if decoding
    /// reached its end.
    pub fn frames(&mut self, indices: &[usize]) -> Result<Vec<Frame>, Error> {
        let mut kept = Kept::new(&self.limits, |_| indices.to_vec());
        let indices = kept.choose(0);
        self.plain(&indices, &mut kept)?;
        kept.in_order(&self.path)
    }

    /// The frames that `choose` wants, given their number, at least one. It may be called
    /// twice, first with an estimate; only the frames for the exact number are kept. Decodes
    /// the file once if the estimate was right, which it usually is, otherwise again up to the
    /// last wanted frame.
    ///
    /// # Errors
    /// As [`count_frames`](Self::count_frames), and a chosen index beyond the last frame.
    pub fn sample(&mut self, choose: impl Fn(usize) -> Vec<usize>) -> Result<Sample, Error> {
        let mut kept = Kept::new(&self.limits, choose);
        let count = self.show(&mut kept)?;
        Ok(Sample {
            count,
            frames: kept.in_order(&self.path)?,
        })
    }

    /// As [`sample`](Self::sample), for access while they are decoded.
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
                .filter(|&frames| frames <= self.limits.max_packets),
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

    /// When each frame should be shown, as stated by the packets. Reads the file once and decodes
    /// nothing, so that a video of hours can be planned; only a decode verifies it, and finds
    /// another number of frames where a picture fills two packets, or none.
    ///
    /// # Errors
    /// A limit; a failing disk.
    pub fn promised_timing(&mut self) -> Result<Timing, Error> {
        self.rewind()?;
        let claims = self.tape.demuxer().claims();
        let (mut clock, mut times, mut packets) = (Clock::new(claims.clone()), vec![], vec![]);
        while let Some(packet) = self.tape.next(&self.path, &self.limits)? {
            if packet.is_shown() {
                clock.see(packet);
                times.push(packet.time());
                packets.extend(packet.span(self.timed));
            }
        }
        if self.timed {
            times.sort_unstable();
        }
        let numbered = times.into_iter().enumerate();
        let starts = numbered.map(|(index, time)| clock.seconds(time, index));
        Ok(Timing::new(&claims, starts.collect(), packets))
    }

    /// When each frame is shown, by decoding everything.
    ///
    /// # Errors
    /// As [`count_frames`](Self::count_frames).
    pub fn timing(&mut self) -> Result<Timing, Error> {
        let mut starts = Vec::new();
        self.visit(|frame| {
            starts.push(frame.time());
            Ok(ControlFlow::Continue(()))
        })?;
        let claims = self.tape.demuxer().claims();
        self.rewind()?;
        let mut packets = Vec::new();
        while let Some(packet) = self.tape.next(&self.path, &self.limits)? {
            if packet.is_shown() {
                packets.extend(packet.span(self.timed));
            }
        }
        Ok(Timing::new(&claims, starts, packets))
    }

    /// Decodes everything, in order, until `each` stops it: it gets every frame, and those that
    /// it does not ask for the pixels of are not converted.
    ///
    /// # Errors
    /// As [`count_frames`](Self::count_frames), and those of `each`; errors of the whole stream
    /// are reported after its last frame.
    pub fn visit(
        &mut self,
        mut each: impl FnMut(&mut Decoded<'_, '_>) -> Result<ControlFlow<()>, Error>,
    ) -> Result<FrameCount, Error> {
        let mut pass = self.pass()?;
        while let Some(index) = pass.next()? {
            let mut frame = Decoded {
                index,
                pass: &mut pass,
            };
            if each(&mut frame)?.is_break() {
                break;
            }
        }
        let count = pass.count();
        self.decoded += count.packets;
        Ok(count)
    }

    /// Passes every frame to `each`, in order, until that stops. This is the plain
    /// sequential decode, the reference for all other ways.
    ///
    /// # Errors
    /// As [`count_frames`](Self::count_frames); errors of the whole stream are
    /// reported after its last frame.
    pub fn for_each_frame(
        &mut self,
        mut each: impl FnMut(Frame) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.visit(|frame| Ok(each(frame.frame()?)))?;
        Ok(())
    }

    /// The pictures stated by the packets; `None` if they cannot be read from them.
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

    /// Passes on the frames of these indices, and decodes up to the last of them.
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

    /// The same, by decoding only the pictures the frames need; `false` if the output differs
    /// from the stated pictures, or if that would not save any decoding.
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
        let (tape, units) = (&mut self.tape, units.collect());
        let mut pass = Pass::of(&self.path, &self.limits, tape, units, script.first_time())?;
        let mut before = None;
        while !wanted.is_empty() {
            let Some(_) = pass.next()? else { break };
            let (time, role) = pass.picture();
            let index = expected.next(time, role).filter(|_| pass.is_whole());
            // Frames are passed on in ascending order.
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

    /// A pass from the first packet on.
    fn pass(&mut self) -> Result<Pass<'_>, Error> {
        self.rewind()?;
        Pass::new(&self.path, &self.limits, &mut self.tape)
    }

    /// Back to the first packet. If that is gone, the file is reopened: a container
    /// that FFmpeg rewound does not always give what it gave at first.
    fn rewind(&mut self) -> Result<(), Error> {
        if !self.tape.rewind() {
            let stream = Some(self.header.stream);
            let Some(file) = &self.file else {
                let (path, source) = (self.path.clone(), io::ErrorKind::NotSeekable.into());
                return Err(Error::Io { path, source });
            };
            let demuxer = Demuxer::open(&self.path, file, &self.limits, stream)?;
            self.tape = Tape::new(demuxer);
        }
        Ok(())
    }
}

/// Frames that are still to come out of a pass, and how many times each is wanted.
struct Wanted {
    times: BTreeMap<usize, u64>,
}

impl Wanted {
    fn new(indices: &[usize]) -> Self {
        let mut times = BTreeMap::new();
        for &index in indices {
            *times.entry(index).or_default() += 1;
        }
        Self { times }
    }

    fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Passes on the current picture of `pass`, if it is wanted.
    fn hand_over(
        &mut self,
        index: usize,
        pass: &mut Pass<'_>,
        sink: &mut dyn FrameSink,
    ) -> Result<(), Error> {
        if self.times.remove(&index).is_some() {
            let time = pass.seconds(index);
            sink.take(index, time, &mut pass.shown(index)?);
        }
        Ok(())
    }
}

/// A frame as it comes out of the decoder.
pub struct Decoded<'a, 'p> {
    index: usize,
    pass: &'a mut Pass<'p>,
}

impl Decoded<'_, '_> {
    /// Index of the frame in the file, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// When it is shown, in seconds from the first frame.
    #[must_use]
    pub fn time(&mut self) -> f64 {
        self.pass.seconds(self.index)
    }

    /// Its pixels, converted row by row.
    ///
    /// # Errors
    /// [`Error::Convert`].
    pub fn rows(&mut self) -> Result<impl Rows + '_, Error> {
        self.pass.shown(self.index)
    }

    /// All of it.
    ///
    /// # Errors
    /// [`Error::Convert`].
    pub fn frame(&mut self) -> Result<Frame, Error> {
        let time = self.time();
        self.pass.frame(self.index, time)
    }
}

/// Keeps the frames that `choose` wants.
struct Kept<F> {
    choose: F,
    chosen: Vec<usize>,
    /// How often each is wanted.
    times: BTreeMap<usize, u64>,
    frames: BTreeMap<usize, Frame>,
    /// Of all of them.
    bytes: u64,
    max_bytes: u64,
}

impl<F: Fn(usize) -> Vec<usize>> Kept<F> {
    fn new(limits: &Limits, choose: F) -> Self {
        Self {
            choose,
            chosen: Vec::new(),
            times: BTreeMap::new(),
            frames: BTreeMap::new(),
            bytes: 0,
            max_bytes: limits.max_memory,
        }
    }

    /// The frames in the order in which they were chosen.
    fn in_order(mut self, path: &Path) -> Result<Vec<Frame>, Error> {
        if self.bytes > self.max_bytes {
            return Err(Error::Memory {
                path: path.to_path_buf(),
                max: self.max_bytes,
                needed: Some(self.bytes),
            });
        }
        let take = |index| {
            let left = self.times.get_mut(index)?;
            *left -= 1;
            match *left {
                0 => self.frames.remove(index),
                _ => self.frames.get(index).cloned(),
            }
        };
        Ok(self.chosen.iter().filter_map(take).collect())
    }
}

impl<F: Fn(usize) -> Vec<usize>> FrameSink for Kept<F> {
    fn choose(&mut self, count: usize) -> Vec<usize> {
        self.frames.clear();
        self.bytes = 0;
        self.chosen = (self.choose)(count);
        self.times = Wanted::new(&self.chosen).times;
        self.chosen.clone()
    }

    fn take(&mut self, index: usize, time: f64, picture: &mut dyn Rows) {
        let (width, height) = (picture.width(), picture.height());
        let times = self.times.get(&index).copied().unwrap_or(1);
        self.bytes += width as u64 * height as u64 * 3 * times;
        if self.bytes <= self.max_bytes {
            let rgb = whole(picture);
            let frame = Frame {
                index,
                time,
                width,
                height,
                rgb,
            };
            self.frames.insert(index, frame);
        }
    }
}

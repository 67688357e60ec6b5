//! The receiver of decoded frames.

use pixels::Rows;

/// Receives frames of a clip while they are decoded, so that unused ones need not be held.
pub trait FrameSink {
    /// The wanted frames of `count` decodable ones: ascending unique indices below `count`;
    /// none if `count` is 0. May be called again, with the same count or another: frames
    /// received before are then discarded.
    fn choose(&mut self, count: usize) -> Vec<usize>;

    /// Receives the frame of this index, shown at `time` (seconds): the chosen ones, in order.
    fn take(&mut self, index: usize, time: f64, picture: &mut dyn Rows);
}

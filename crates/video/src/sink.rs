//! The taker of decoded frames.

use pixels::Rows;

/// Takes frames of a clip while they are decoded, so that none need be held that is not used.
pub trait FrameSink {
    /// The frames wanted when so many can be decoded: rising indices below `count`, each once;
    /// none of none. May be asked again, of another number or the same: what was taken before
    /// then counts for nothing.
    fn choose(&mut self, count: usize) -> Vec<usize>;

    /// Takes the frame of this index, shown at `time` (seconds): those chosen, in their order.
    fn take(&mut self, index: usize, time: f64, picture: &mut dyn Rows);
}

//! A decoded picture, the input of the transforms.

/// One decoded frame, 8-bit RGB, rows from top to bottom, no padding.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Index of the frame in the file, in decoder output order from 0.
    pub index: usize,
    /// Presentation time in seconds.
    pub time: f64,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `height * width * 3` bytes.
    pub rgb: Vec<u8>,
}

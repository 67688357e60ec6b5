//! The in-network shift: patch tokens exchange channels with their neighbours in time.

use clip_backbone::BlockHook;
use tch::Tensor;

/// Before every image block the first eighth of each patch token's channels comes from the
/// next frame and the second eighth from the previous one, zero-padded at the borders. The
/// class token is unchanged.
#[derive(Debug, Clone, Copy)]
pub struct TemporalShift {
    /// T, frames per clip.
    pub frames: i64,
}

impl BlockHook for TemporalShift {
    fn before_block(&mut self, _block: usize, tokens: Tensor) -> Tensor {
        let size = tokens.size();
        let (length, width, frames) = (size[1], size[2], self.frames);
        let eighth = width / 8;
        let clips = tokens.view([-1, frames, length, width]); // (B, T, L, W)
        let class = clips.narrow(2, 0, 1);
        let patches = clips.narrow(2, 1, length - 1);
        let from_next = |x: &Tensor| {
            Tensor::cat(
                &[x.narrow(1, 1, frames - 1), x.narrow(1, 0, 1).zeros_like()],
                1,
            )
        };
        let from_before = |x: &Tensor| {
            Tensor::cat(
                &[x.narrow(1, 0, 1).zeros_like(), x.narrow(1, 0, frames - 1)],
                1,
            )
        };
        let shifted = Tensor::cat(
            &[
                from_next(&patches.narrow(3, 0, eighth)),
                from_before(&patches.narrow(3, eighth, eighth)),
                patches.narrow(3, 2 * eighth, width - 2 * eighth),
            ],
            3,
        );
        Tensor::cat(&[class, shifted], 2).view([-1, length, width])
    }
}

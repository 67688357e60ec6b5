//! The blocks of the campaign.

mod calls;
mod downloads;
mod images;
mod kills;
pub mod parsers;
mod rot;
pub(crate) mod videos;

use crate::Block;

/// All blocks, in the order of the table.
pub const BLOCKS: &[Block] = &[
    kills::BLOCK,
    calls::BLOCK,
    images::BLOCK,
    rot::BLOCK,
    videos::BLOCK,
    parsers::BLOCK,
    downloads::BLOCK,
];

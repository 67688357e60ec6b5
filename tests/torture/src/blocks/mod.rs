//! The blocks of the campaign.

mod calls;
mod downloads;
mod images;
mod kills;
pub mod parsers;
mod resources;
mod rot;
mod services;
mod soak;
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
    resources::BLOCK,
    soak::BLOCK,
    services::BLOCK,
];

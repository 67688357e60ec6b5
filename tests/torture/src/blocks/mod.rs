//! The blocks of the campaign.

mod calls;
mod images;
mod kills;
mod resources;
mod rot;
mod services;
mod soak;

use crate::Block;

/// All blocks, in the order of the table.
pub const BLOCKS: &[Block] = &[
    kills::BLOCK,
    calls::BLOCK,
    images::BLOCK,
    rot::BLOCK,
    resources::BLOCK,
    soak::BLOCK,
    services::BLOCK,
];

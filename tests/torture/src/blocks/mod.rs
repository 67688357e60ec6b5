//! The blocks of the campaign.

pub mod parsers;
mod rot;
pub(crate) mod videos;

use crate::Block;

/// All blocks, in the order of the table.
pub const BLOCKS: &[Block] = &[rot::BLOCK, videos::BLOCK, parsers::BLOCK];

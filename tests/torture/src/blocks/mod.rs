//! The blocks of the campaign.

mod rot;

use crate::Block;

/// All blocks, in the order of the table.
pub const BLOCKS: &[Block] = &[rot::BLOCK];

//! The prefix once per video, followed by the class suffixes.
//!
//! All rows of a batch form one matrix: first \[SOS\] P_1..P_H of every video, then the
//! suffixes of every video in bins of equal height. Norms, projections and feed-forward
//! networks run over that matrix; attention runs bin by bin, each row over the prefix of its
//! video and, by a mask, the rows of its own class before it.

use clip_backbone::{Block, TextTower};
use layers::{attend, attend_flat, causal_bias, join_heads};
use tch::{Device, Kind, Tensor};

use super::bins::Bins;
use crate::Result;

/// The rows computed in the last block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastBlock {
    AllRows,
    /// Only the \[EOS\] rows are read after it, so the others need only keys and values.
    EndRows,
}

/// Class suffixes in bins, embedded.
#[derive(Debug)]
pub(super) struct Packed {
    /// \[SOS\] with its position, `[1, W]`.
    start: Tensor,
    /// The positions of P_1..P_H, `[H, W]`.
    prompt_positions: Tensor,
    /// The suffixes' embeddings with positions, zero in empty rows, `[G R, W]`.
    rows: Tensor,
    /// Queries, keys and values of these rows in the first block, which do not depend on the
    /// video: `[G R, 3 W]`. Absent if the first block is also the last.
    first: Option<Tensor>,
    /// G
    bins: i64,
    /// R, rows per bin.
    height: i64,
    /// 0 if a row attends to a key, otherwise -inf: `[G, 1, R, 1 + H + R]`.
    mask: Tensor,
    /// `[1 + H, 1 + H]`
    prefix_mask: Tensor,
    /// The row of each class's \[EOS\], `[k]`.
    end_rows: Tensor,
    ends: Option<EndSlots>,
}

/// The \[EOS\] rows, padded to the same number in every bin.
#[derive(Debug)]
struct EndSlots {
    /// C, slots per bin.
    per_bin: i64,
    /// The class in each slot, `[G C]`; arbitrary in an empty one.
    class_of: Tensor,
    /// The slot of each class, `[k]`.
    slot_of: Tensor,
    /// As the rows' mask: `[G, 1, C, 1 + H + R]`.
    mask: Tensor,
}

impl Packed {
    pub(super) fn new(
        tower: &TextTower,
        start: i64,
        suffixes: &[Vec<i64>],
        prompts: i64,
        last: LastBlock,
    ) -> Result<Self> {
        let options = (tower.kind(), tower.device());
        let width = tower.config().width;
        let prefix = 1 + prompts;
        let lengths: Vec<usize> = suffixes.iter().map(Vec::len).collect();
        let packing = match last {
            LastBlock::AllRows => Bins::single(&lengths),
            LastBlock::EndRows => Bins::packed(&lengths, prefix as usize, width as usize),
        };
        let layout = Layout::new(&packing, suffixes, prefix as usize);

        let positions = tower.positions();
        let index = |values: &[i64]| Tensor::from_slice(values).to_device(options.1);
        let embedded = tower.embed(&index(&layout.ids))?
            + positions.index_select(0, &index(&layout.positions));
        let occupied = index(&layout.occupied).to_kind(options.0).unsqueeze(1);
        let visible = Visible {
            bins: packing.bins.len(),
            keys: prefix as usize + packing.rows,
            options,
        };
        let rows = embedded * occupied;
        let first = match (last, tower.blocks()) {
            (LastBlock::AllRows, [first, ..]) | (LastBlock::EndRows, [first, _, ..]) => {
                Some(first.attention.qkv.forward(&first.norm1.forward(&rows)))
            }
            _ => None,
        };
        Ok(Self {
            start: tower.embed(&index(&[start]))? + positions.narrow(0, 0, 1),
            prompt_positions: positions.narrow(0, 1, prompts),
            rows,
            first,
            bins: packing.bins.len() as i64,
            height: packing.rows as i64,
            mask: visible.mask(&layout.row_sees),
            prefix_mask: causal_bias(prefix, options.0, options.1),
            end_rows: index(&layout.end_rows),
            ends: (last == LastBlock::EndRows).then(|| EndSlots {
                per_bin: layout.slots_per_bin as i64,
                class_of: index(&layout.class_of_slot),
                slot_of: index(&layout.slot_of_class),
                mask: visible.mask(&layout.slot_sees),
            }),
        })
    }

    /// Prompt vectors `[b, H, W]` to features `[b, k, D]`.
    pub(super) fn forward(&self, tower: &TextTower, prompts: &Tensor) -> Result<Tensor> {
        let (b, width) = (prompts.size()[0], prompts.size()[2]);
        let (k, suffix_rows) = (self.end_rows.size()[0], self.bins * self.height);
        let heads = tower.config().heads;
        let shape = Shape {
            b,
            heads,
            head_width: width / heads,
            prefix: self.prompt_positions.size()[0] + 1,
            bins: self.bins,
            height: self.height,
        };
        let placed = prompts.to_kind(tower.kind()) + &self.prompt_positions; // (b, H, W)
        let prefix = Tensor::f_cat(&[self.start.expand([b, 1, width], false), placed], 1)?;
        let mut x = Tensor::f_cat(
            &[
                prefix.view([b * shape.prefix, width]),
                self.rows.repeat([b, 1]),
            ],
            0,
        )?; // (b (1 + H) + b G R, W)
        let mask = shape.spread(&self.mask);
        let (before, last) = match (&self.ends, tower.blocks()) {
            (Some(ends), [before @ .., last]) => (before, Some((ends, last))),
            (_, all) => (all, None),
        };
        for (index, block) in before.iter().enumerate() {
            let qkv = match &self.first {
                Some(first) if index == 0 => {
                    let prefix = x.narrow(0, 0, b * shape.prefix);
                    let prefix = block.attention.qkv.forward(&block.norm1.forward(&prefix));
                    vec![prefix, first.repeat([b, 1])]
                }
                _ => shape.split(&block.attention.qkv.forward(&block.norm1.forward(&x))),
            };
            x = self.block(block, &x, &qkv, &mask, &shape);
        }
        let end_rows = |x: &Tensor| {
            x.narrow(0, b * shape.prefix, b * suffix_rows)
                .view([b, suffix_rows, width])
                .index_select(1, &self.end_rows) // (b, k, W)
        };
        let ends = match last {
            Some((slots, block)) => {
                let ends = end_rows(&x);
                let mixed = self.end_attention(block, &x, &ends, slots, &shape);
                block.feed_forward(&(ends + block.attention.out.forward(&mixed)))
            }
            None => end_rows(&x),
        };
        Ok(tower.project(&ends).view([b, k, -1]))
    }

    /// A block over all rows, from the queries, keys and values of prefix and suffix rows.
    fn block(
        &self,
        block: &Block,
        x: &Tensor,
        qkv: &[Tensor],
        mask: &Tensor,
        shape: &Shape,
    ) -> Tensor {
        let prefix = shape.prefix_heads(&qkv[0], 3);
        let suffix = shape.suffix_heads(&qkv[1], 3);
        let mixed_prefix = attend(&prefix[0], &prefix[1], &prefix[2], Some(&self.prefix_mask));
        let keys = shape.keys(&prefix[1], &suffix[1]);
        let values = shape.keys(&prefix[2], &suffix[2]);
        let queries = suffix[0].reshape([-1, shape.height, shape.head_width]);
        let mixed = attend_flat(&queries, &keys, &values, Some(mask));
        let mixed = Tensor::cat(
            &[
                join_heads(&mixed_prefix).view([shape.b * shape.prefix, -1]),
                shape.join_bins(&mixed, shape.height),
            ],
            0,
        ); // (rows, W)
        block.feed_forward(&(x + block.attention.out.forward(&mixed)))
    }

    /// The last block's attention: keys and values of all rows, queries of the \[EOS\] rows.
    fn end_attention(
        &self,
        block: &Block,
        x: &Tensor,
        ends: &Tensor,
        slots: &EndSlots,
        shape: &Shape,
    ) -> Tensor {
        let width = shape.heads * shape.head_width;
        let kv = block
            .attention
            .qkv
            .rows(width, 2 * width)
            .forward(&block.norm1.forward(x)); // (rows, 2 W)
        let parts = shape.split(&kv);
        let prefix = shape.prefix_heads(&parts[0], 2);
        let suffix = shape.suffix_heads(&parts[1], 2);
        let keys = shape.keys(&prefix[0], &suffix[0]);
        let values = shape.keys(&prefix[1], &suffix[1]);
        let queries = block
            .attention
            .qkv
            .rows(0, width)
            .forward(&block.norm1.forward(ends)) // (b, k, W)
            .index_select(1, &slots.class_of)
            .view([
                shape.b,
                shape.bins,
                slots.per_bin,
                shape.heads,
                shape.head_width,
            ])
            .transpose(2, 3) // (b, G, h, C, d)
            .reshape([-1, slots.per_bin, shape.head_width]);
        let mixed = attend_flat(&queries, &keys, &values, Some(&shape.spread(&slots.mask)));
        shape
            .join_bins(&mixed, slots.per_bin)
            .view([shape.b, shape.bins * slots.per_bin, width])
            .index_select(1, &slots.slot_of) // (b, k, W)
    }
}

/// The sizes of one pass.
#[derive(Debug)]
struct Shape {
    b: i64,
    heads: i64,
    head_width: i64,
    /// 1 + H
    prefix: i64,
    /// G
    bins: i64,
    /// R
    height: i64,
}

impl Shape {
    /// Prefix rows and suffix rows.
    fn split(&self, rows: &Tensor) -> Vec<Tensor> {
        let sizes = [self.b * self.prefix, self.b * self.bins * self.height];
        rows.split_with_sizes(sizes, 0)
    }

    /// `[b (1 + H), n W]` to n of `[b, h, 1 + H, d]`.
    fn prefix_heads(&self, rows: &Tensor, n: i64) -> Vec<Tensor> {
        rows.view([self.b, self.prefix, n, self.heads, self.head_width])
            .permute([2, 0, 3, 1, 4])
            .unbind(0)
    }

    /// `[b G R, n W]` to n of `[b, G, h, R, d]`.
    fn suffix_heads(&self, rows: &Tensor, n: i64) -> Vec<Tensor> {
        rows.view([
            self.b,
            self.bins,
            self.height,
            n,
            self.heads,
            self.head_width,
        ])
        .permute([3, 0, 1, 4, 2, 5])
        .unbind(0)
    }

    /// Keys, or values, of every bin after those of the video's prefix:
    /// `[b G h, 1 + H + R, d]`.
    fn keys(&self, prefix: &Tensor, suffix: &Tensor) -> Tensor {
        let shared = prefix.unsqueeze(1).expand(
            [self.b, self.bins, self.heads, self.prefix, self.head_width],
            false,
        );
        Tensor::cat(&[shared, suffix.shallow_clone()], 3).view([
            -1,
            self.prefix + self.height,
            self.head_width,
        ])
    }

    /// `[G, 1, n, m]` to `[b G h, n, m]`.
    fn spread(&self, mask: &Tensor) -> Tensor {
        let size = mask.size();
        mask.unsqueeze(0)
            .expand([self.b, self.bins, self.heads, size[2], size[3]], false)
            .reshape([-1, size[2], size[3]])
    }

    /// `[b G h, n, d]` to `[b G n, W]`.
    fn join_bins(&self, mixed: &Tensor, n: i64) -> Tensor {
        mixed
            .view([self.b, self.bins, self.heads, n, self.head_width])
            .transpose(2, 3)
            .reshape([self.b * self.bins * n, self.heads * self.head_width])
    }
}

/// The layout, in plain numbers.
#[derive(Debug)]
struct Layout {
    /// Token id of each row, 0 in an empty one. `[G R]`
    ids: Vec<i64>,
    /// Position of each row in its sequence. `[G R]`
    positions: Vec<i64>,
    /// 1 where a row holds a token. `[G R]`
    occupied: Vec<i64>,
    /// The rows of its bin that each row attends to. `[G R]`
    row_sees: Vec<Sees>,
    /// The row of each class's \[EOS\]. `[k]`
    end_rows: Vec<i64>,
    slots_per_bin: usize,
    /// `[G C]`
    class_of_slot: Vec<i64>,
    /// `[k]`
    slot_of_class: Vec<i64>,
    /// The rows of its bin that each slot attends to. `[G C]`
    slot_sees: Vec<Sees>,
}

/// Keys that one query attends to: the prefix, and the rows `first .. first + count` of its bin.
#[derive(Debug, Clone, Copy, Default)]
struct Sees {
    prefix: usize,
    first: usize,
    count: usize,
}

impl Layout {
    fn new(packing: &Bins, suffixes: &[Vec<i64>], prefix: usize) -> Self {
        let slots_per_bin = packing.bins.iter().map(Vec::len).max().unwrap_or(1);
        let (rows, slots) = (
            packing.bins.len() * packing.rows,
            packing.bins.len() * slots_per_bin,
        );
        // A row or slot without a token attends to the prefix, so that its softmax is finite.
        let nothing = Sees {
            prefix,
            ..Sees::default()
        };
        let mut layout = Self {
            ids: vec![0; rows],
            positions: vec![0; rows],
            occupied: vec![0; rows],
            row_sees: vec![nothing; rows],
            end_rows: vec![0; suffixes.len()],
            slots_per_bin,
            class_of_slot: vec![0; slots],
            slot_of_class: vec![0; suffixes.len()],
            slot_sees: vec![nothing; slots],
        };
        for (bin, classes) in packing.bins.iter().enumerate() {
            let mut first = 0;
            for (place, &class) in classes.iter().enumerate() {
                for (offset, &id) in suffixes[class].iter().enumerate() {
                    let row = bin * packing.rows + first + offset;
                    layout.ids[row] = id;
                    layout.positions[row] = (prefix + offset) as i64;
                    layout.occupied[row] = 1;
                    layout.row_sees[row] = Sees {
                        prefix,
                        first,
                        count: offset + 1,
                    };
                }
                let length = suffixes[class].len();
                let slot = bin * slots_per_bin + place;
                layout.end_rows[class] = (bin * packing.rows + first + length - 1) as i64;
                layout.class_of_slot[slot] = class as i64;
                layout.slot_of_class[class] = slot as i64;
                layout.slot_sees[slot] = Sees {
                    prefix,
                    first,
                    count: length,
                };
                first += length;
            }
        }
        layout
    }
}

/// Builds attention masks.
struct Visible {
    bins: usize,
    /// 1 + H + R
    keys: usize,
    options: (Kind, Device),
}

impl Visible {
    /// `[G n]` queries to a mask `[G, 1, n, 1 + H + R]`.
    fn mask(&self, queries: &[Sees]) -> Tensor {
        let mut mask = vec![f32::NEG_INFINITY; queries.len() * self.keys];
        for (row, sees) in mask.chunks_mut(self.keys).zip(queries) {
            row[..sees.prefix].fill(0.0);
            row[sees.prefix + sees.first..][..sees.count].fill(0.0);
        }
        Tensor::from_slice(&mask)
            .view([self.bins as i64, 1, -1, self.keys as i64])
            .to_kind(self.options.0)
            .to_device(self.options.1)
    }
}

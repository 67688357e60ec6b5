//! The symmetric contrastive loss with several positives per row.

use tch::{Kind, Reduction, Tensor};

use crate::{Error, Result};

/// Sharpness of the targets: softmax(10 g).
const SHARPNESS: f64 = 10.0;

/// Ground truth `g[i, k] = 1` where clips i and k show the same class: `[B]` to `[B, B]`.
///
/// # Errors
/// [`Error::Shape`] if `classes` does not hold one class per clip.
pub fn same_class(classes: &Tensor) -> Result<Tensor> {
    let size = classes.size();
    if size.len() != 1 || size[0] < 1 {
        return Err(Error::Shape {
            op: "contrast",
            expected: "[B] with B >= 1".into(),
            got: size,
        });
    }
    Ok(classes
        .unsqueeze(1)
        .eq_tensor(&classes.unsqueeze(0))
        .to_kind(Kind::Float))
}

/// KL(softmax(10 g) || softmax(logits)) by rows, the mean over the batch, averaged over
/// both directions: `logits` `[B, B]` (videos by texts), `truth` `[B, B]`, to a scalar.
///
/// # Errors
/// [`Error::Shape`] if the two are not square and of the same shape.
pub fn symmetric_kl(logits: &Tensor, truth: &Tensor) -> Result<Tensor> {
    let size = logits.size();
    if size.len() != 2 || size[0] != size[1] || truth.size() != size {
        return Err(Error::Shape {
            op: "contrast",
            expected: format!("[B, B] logits and truth; truth is {:?}", truth.size()),
            got: size,
        });
    }
    let one_way = |logits: &Tensor, truth: &Tensor| {
        let target = (truth * SHARPNESS).softmax(-1, Kind::Float);
        let rows = logits.log_softmax(-1, Kind::Float);
        // libtorch's "mean" would also divide by the row's length.
        rows.kl_div(&target, Reduction::Sum, false) / size[0] as f64
    };
    Ok((one_way(logits, truth) + one_way(&logits.tr(), &truth.tr())) / 2.0)
}

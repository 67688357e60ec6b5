//! Linear maps with fast inference.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use layers::Linear;
use tch::Tensor;

use crate::Result;
use crate::packed::{Epilogue, PackedWeight};
use crate::parameters::Builder;

/// A linear map whose weight is packed for inference at first use, once for all shallow
/// clones.
///
/// A frozen weight must not be changed in place once it has been used: its packed copy would
/// not change.
#[derive(Debug)]
pub struct PackedLinear {
    linear: Linear,
    packed: Arc<Mutex<Packed>>,
}

/// The state of a weight's packing.
#[derive(Debug, Default)]
enum Packed {
    #[default]
    NotTried,
    No,
    Yes(PackedWeight),
}

impl Deref for PackedLinear {
    type Target = Linear;

    fn deref(&self) -> &Linear {
        &self.linear
    }
}

impl PackedLinear {
    pub(crate) fn new(linear: Linear) -> Self {
        Self {
            linear,
            packed: Arc::default(),
        }
    }

    pub(crate) fn take(
        builder: &mut Builder<'_>,
        name: &str,
        inputs: i64,
        outputs: i64,
    ) -> Result<Self> {
        Ok(Self::new(Linear {
            weight: builder.take(&format!("{name}.weight"), &[outputs, inputs])?,
            bias: Some(builder.take(&format!("{name}.bias"), &[outputs])?),
        }))
    }

    /// With the weight and the bias each times a factor.
    pub(crate) fn scaled(
        builder: &mut Builder<'_>,
        name: &str,
        [outputs, inputs]: [i64; 2],
        [weight, bias]: [f64; 2],
    ) -> Result<Self> {
        Ok(Self::new(Linear {
            weight: builder.scaled(&format!("{name}.weight"), &[outputs, inputs], weight)?,
            bias: Some(builder.scaled(&format!("{name}.bias"), &[outputs], bias)?),
        }))
    }

    /// As [`forward`](Linear::forward) without gradients, with `epilogue` fused where oneDNN
    /// multiplies with a packed weight.
    pub(crate) fn infer(&self, x: &Tensor, epilogue: Epilogue<'_>) -> Tensor {
        let bias = self.bias.as_ref();
        self.packed()
            .and_then(|packed| packed.product(x, bias, epilogue))
            .unwrap_or_else(|| {
                let mut plain = self.forward(x);
                match epilogue {
                    Epilogue::Identity => plain,
                    Epilogue::Silu => plain.silu_(),
                    Epilogue::Add(to) => plain.g_add_(to),
                }
            })
    }

    fn packed(&self) -> Option<PackedWeight> {
        let mut packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*packed, Packed::NotTried) {
            *packed = PackedWeight::new(&self.weight).map_or(Packed::No, Packed::Yes);
        }
        match &*packed {
            Packed::Yes(weight) => Some(weight.shallow_clone()),
            Packed::NotTried | Packed::No => None,
        }
    }

    /// The same parameters and their layout, shared.
    pub(crate) fn shallow_clone(&self) -> Self {
        Self {
            linear: self.linear.shallow_clone(),
            packed: Arc::clone(&self.packed),
        }
    }
}

//! Products with weights prepacked by oneDNN.
//!
//! A plain product converts the weight to oneDNN's (or MKL's) internal layout on every call. The
//! operators that take a prepacked weight, with a fused activation or addition, are not
//! among libtorch's public functions; its interpreter reaches them, so a small
//! `TorchScript` module, written here, calls them. If they do not exist (no oneDNN, a
//! processor without the precision), nothing is packed.

use std::io::{Cursor, Write as _};
use std::sync::OnceLock;

use tch::{CModule, Device, IValue, Kind, Tensor};
use zip::write::{SimpleFileOptions, ZipWriter};

/// An operation applied to a product before it is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Epilogue<'a> {
    /// None.
    Identity,
    /// x σ(x).
    Silu,
    /// The sum with a residual of the product's shape.
    Add(&'a Tensor),
}

/// A weight in oneDNN's layout, for inference only: no gradient passes.
#[derive(Debug)]
pub(crate) struct PackedWeight(Tensor);

impl PackedWeight {
    /// Packs `weight`, `[out, in]`, for products; `None` if that is not supported.
    pub(crate) fn new(weight: &Tensor) -> Option<Self> {
        if weight.device() != Device::Cpu || weight.requires_grad() || !multiplies(weight.kind()) {
            return None;
        }
        Self::laid_out(weight)
    }

    fn laid_out(weight: &Tensor) -> Option<Self> {
        let packed = products()?.method_ts("pack", &[weight]).ok()?;
        Some(Self(packed))
    }

    pub(crate) fn shallow_clone(&self) -> Self {
        Self(self.0.shallow_clone())
    }

    /// `[.., in]` to `[.., out]`; `None` if the processor lacks the product.
    pub(crate) fn product(
        &self,
        x: &Tensor,
        bias: Option<&Tensor>,
        epilogue: Epilogue<'_>,
    ) -> Option<Tensor> {
        let value = |tensor: &Tensor| IValue::Tensor(tensor.shallow_clone());
        let weight = &self.0;
        let bias = bias.map_or(IValue::None, value);
        let (method, arguments) = match epilogue {
            Epilogue::Identity => ("plain", vec![value(x), value(weight), bias]),
            Epilogue::Silu => ("silu", vec![value(x), value(weight), bias]),
            Epilogue::Add(to) => ("add", vec![value(x), value(to), value(weight), bias]),
        };
        match products()?.method_is(method, &arguments) {
            Ok(IValue::Tensor(result)) => Some(result),
            _ => None,
        }
    }
}

/// Whether this processor multiplies by packed weights of this precision. It may pack them and
/// then refuse the product, so this is checked once, not at every call.
fn multiplies(kind: Kind) -> bool {
    static FLOAT: OnceLock<bool> = OnceLock::new();
    static BFLOAT16: OnceLock<bool> = OnceLock::new();
    let known = match kind {
        Kind::Float => &FLOAT,
        Kind::BFloat16 => &BFLOAT16,
        _ => return false,
    };
    *known.get_or_init(|| {
        let small = Tensor::zeros([16, 16], (kind, Device::Cpu));
        let packed = PackedWeight::laid_out(&small);
        packed.is_some_and(|packed| packed.product(&small, None, Epilogue::Identity).is_some())
    })
}

/// The module, loaded at first use; `None` if libtorch lacks its operators.
fn products() -> Option<&'static CModule> {
    static PRODUCTS: OnceLock<Option<CModule>> = OnceLock::new();
    PRODUCTS
        .get_or_init(|| CModule::load_data(&mut Cursor::new(archive()?)).ok())
        .as_ref()
}

const CODE: &str = r#"class Products(Module):
  __parameters__ = []
  __buffers__ = []
  def pack(self: __torch__.Products,
    weight: Tensor) -> Tensor:
    return ops.mkldnn._reorder_linear_weight(weight, None)
  def plain(self: __torch__.Products,
    x: Tensor,
    weight: Tensor,
    bias: Optional[Tensor]) -> Tensor:
    _0 = annotate(List[Optional[number]], [])
    return ops.mkldnn._linear_pointwise(x, weight, bias, "none", _0, "")
  def silu(self: __torch__.Products,
    x: Tensor,
    weight: Tensor,
    bias: Optional[Tensor]) -> Tensor:
    _0 = annotate(List[Optional[number]], [])
    return ops.mkldnn._linear_pointwise(x, weight, bias, "swish", _0, "")
  def add(self: __torch__.Products,
    x: Tensor,
    to: Tensor,
    weight: Tensor,
    bias: Optional[Tensor]) -> Tensor:
    return ops.mkldnn._linear_pointwise(x, to, weight, bias, "add")
"#;

/// The module as `TorchScript` stores it: a zip of its code, of an object without fields, of
/// no constants, and of the format's version.
fn archive() -> Option<Vec<u8>> {
    let entries: [(&str, &[u8]); 4] = [
        (
            "products/data.pkl",
            b"\x80\x02c__torch__\nProducts\n)\x81}b.",
        ),
        ("products/code/__torch__.py", CODE.as_bytes()),
        ("products/constants.pkl", b"\x80\x02)."),
        ("products/version", b"3\n"),
    ];
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        zip.start_file(name, stored).ok()?;
        zip.write_all(content).ok()?;
    }
    Some(zip.finish().ok()?.into_inner())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_module_loads_where_libtorch_has_the_operators() {
        assert!(products().is_some());
        assert!(multiplies(Kind::Float) && !multiplies(Kind::Double));
    }

    #[test]
    fn a_packed_product_is_the_product() {
        tch::manual_seed(1);
        for kind in [Kind::Float, Kind::BFloat16] {
            let options = (kind, Device::Cpu);
            let weight = Tensor::randn([48, 32], options);
            let bias = Tensor::randn([48], options);
            let Some(packed) = PackedWeight::new(&weight) else {
                continue;
            };
            for rows in [1, 7, 300] {
                let x = Tensor::randn([2, rows, 32], options);
                let residual = Tensor::randn([2, rows, 48], options);
                for with in [None, Some(&bias)] {
                    let plain = x.linear(&weight, with);
                    for (epilogue, expected) in [
                        (Epilogue::Identity, plain.shallow_clone()),
                        (Epilogue::Silu, plain.silu()),
                        (Epilogue::Add(&residual), &plain + &residual),
                    ] {
                        let got = packed.product(&x, with, epilogue).unwrap();
                        assert_eq!((got.size(), got.kind()), (expected.size(), kind));
                        let gap = (got - &expected).abs().max().double_value(&[]);
                        let most = expected.abs().max().double_value(&[]);
                        let bound = if kind == Kind::Float { 1e-5 } else { 2e-2 };
                        assert!(gap <= bound * most, "{kind:?} {rows} {epilogue:?}: {gap}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_trained_is_not_packed() {
        let weight = Tensor::randn([4, 4], (Kind::Float, Device::Cpu));
        assert!(PackedWeight::new(&weight.set_requires_grad(true)).is_none());
        let double = Tensor::randn([4, 4], (Kind::Double, Device::Cpu));
        assert!(PackedWeight::new(&double).is_none());
    }
}

//! Initial distributions of parameters, drawn with libtorch's generator.

use tch::nn::Init;

/// All zeros.
pub const ZERO: Init = Init::Const(0.0);

/// Uniform within `bound` of zero.
pub fn uniform(bound: f64) -> Init {
    Init::Uniform {
        lo: -bound,
        up: bound,
    }
}

/// Uniform within 1 / √`inputs`, PyTorch's default for linear and recurrent layers.
pub fn fan_in(inputs: i64) -> Init {
    uniform((inputs as f64).powf(-0.5))
}

/// Uniform within √(6 / (`inputs` + `outputs`)) (Glorot and Bengio, 2010).
pub fn glorot(inputs: i64, outputs: i64) -> Init {
    uniform((6.0 / (inputs + outputs) as f64).sqrt())
}

/// Normal with mean zero and the standard deviation `stdev`.
pub fn normal(stdev: f64) -> Init {
    Init::Randn { mean: 0.0, stdev }
}

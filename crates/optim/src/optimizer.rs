//! SGD with momentum and AdamW, with state that can be saved and restored bit for bit.
//!
//! libtorch's own optimizers do not expose their state, so a run that used them could
//! not resume exactly.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::pull::Pull;
use crate::{Error, Result};

/// The update rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// v <- momentum v + g + decay p; p <- p - rate v.
    Sgd {
        /// Momentum: the fraction of the last velocity kept.
        momentum: f64,
    },
    /// Adam with decoupled decay: p <- (1 - rate decay) p - rate m^ / (sqrt(v^) + eps).
    AdamW {
        /// Decay of the first moment.
        beta1: f64,
        /// Decay of the second moment.
        beta2: f64,
        /// Added to the root of the second moment.
        eps: f64,
    },
}

/// The optimizers by their names in a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MethodName {
    /// [`Method::Sgd`].
    Sgd,
    /// [`Method::AdamW`].
    Adamw,
}

/// A trainable tensor: a leaf that accumulates gradients.
#[derive(Debug)]
pub struct Parameter {
    /// Its name, unique.
    pub name: String,
    /// The tensor.
    pub tensor: Tensor,
    /// Its learning rate as a multiple of the schedule's.
    pub rate: f64,
    /// Weight decay; 0 for norms, biases and positions.
    pub decay: f64,
}

/// A parameter and its state, kept in fp32 whatever the parameter's precision.
#[derive(Debug)]
struct Slot {
    parameter: Parameter,
    /// The fp32 master copy of a parameter in lower precision: steps too small for that precision
    /// add up here.
    master: Option<Tensor>,
    /// Velocity, or first moment.
    first: Tensor,
    /// Second moment; AdamW only.
    second: Option<Tensor>,
}

impl Slot {
    /// The update number `steps`, from 1; none without a gradient.
    fn update(&mut self, method: Method, steps: f64, rate: f64) {
        let (decay, rate) = (self.parameter.decay, rate * self.parameter.rate);
        let gradient = self.parameter.tensor.grad();
        if !gradient.defined() {
            return;
        }
        let gradient = gradient.to_kind(self.first.kind());
        let tensor = self.master.as_mut().unwrap_or(&mut self.parameter.tensor);
        match (method, &mut self.second) {
            (Method::AdamW { beta1, beta2, eps }, Some(second)) => {
                let _ = tensor.g_mul_scalar_(1.0 - rate * decay);
                let _ = self.first.g_mul_scalar_(beta1);
                let _ = self.first.g_add_(&(&gradient * (1.0 - beta1)));
                let _ = second.g_mul_scalar_(beta2);
                let _ = second.g_add_(&(gradient.square() * (1.0 - beta2)));
                let correction = (1.0 - beta2.powf(steps)).sqrt();
                let denominator = second.sqrt() / correction + eps;
                let scale = -rate / (1.0 - beta1.powf(steps));
                let _ = tensor.g_add_(&(&self.first / denominator * scale));
            }
            (Method::Sgd { momentum }, _) => {
                let pull = if decay > 0.0 {
                    gradient + &*tensor * decay
                } else {
                    gradient
                };
                let _ = self.first.g_mul_scalar_(momentum);
                let _ = self.first.g_add_(&pull);
                let _ = tensor.g_add_(&(&self.first * -rate));
            }
            (Method::AdamW { .. }, None) => {}
        }
        if let Some(master) = &self.master {
            self.parameter.tensor.copy_(master);
        }
    }
}

/// Updates a set of named tensors from their gradients.
#[derive(Debug)]
pub struct Optimizer {
    method: Method,
    slots: Vec<Slot>,
    steps: u64,
    pull: Option<Pull>,
}

impl Optimizer {
    /// An optimizer over `parameters` with all state at zero.
    ///
    /// It visits them in the order of their names, so that sums over them are the same
    /// in every run.
    pub fn new(method: Method, mut parameters: Vec<Parameter>) -> Self {
        parameters.sort_by(|a, b| a.name.cmp(&b.name));
        let full = |kind| match kind {
            Kind::Half | Kind::BFloat16 => Kind::Float,
            kind => kind,
        };
        let zeros = |parameter: &Parameter| {
            let tensor = parameter.tensor.detach();
            Tensor::zeros(tensor.size(), (full(tensor.kind()), tensor.device()))
        };
        let slots = parameters
            .into_iter()
            .map(|parameter| Slot {
                master: (parameter.tensor.kind() != full(parameter.tensor.kind()))
                    .then(|| parameter.tensor.detach().to_kind(Kind::Float)),
                first: zeros(&parameter),
                second: match method {
                    Method::Sgd { .. } => None,
                    Method::AdamW { .. } => Some(zeros(&parameter)),
                },
                parameter,
            })
            .collect();
        Self {
            method,
            slots,
            steps: 0,
            pull: None,
        }
    }

    /// The same with the penalty μ / 2 |θ − θ₀|² on the distance of the parameters θ from their present
    /// values θ₀, for [`pull`](Self::pull); none for μ = 0.
    #[must_use]
    pub fn pulled(mut self, strength: f64) -> Self {
        let tensors = self.slots.iter().map(|slot| &slot.parameter.tensor);
        self.pull = (strength > 0.0).then(|| Pull::new(strength, tensors));
        self
    }

    /// Adds the gradient of the penalty on the distance from the start, if there is one.
    ///
    /// # Errors
    /// [`Error::Torch`] if a libtorch operation fails.
    pub fn pull(&self) -> Result<()> {
        self.pull.as_ref().map_or(Ok(()), Pull::add_gradients)
    }

    /// The number of updates so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Sets every gradient to zero.
    pub fn zero_grad(&mut self) {
        for slot in &mut self.slots {
            slot.parameter.tensor.zero_grad();
        }
    }

    /// The Euclidean norm of all gradients together, and the numbers of `beside`, a tensor each:
    /// all are read at once, since each read synchronises with the GPU.
    ///
    /// # Errors
    /// [`Error::Torch`] if a libtorch operation fails, e.g. if they are on several devices.
    pub fn gradient_norm<const N: usize>(&self, beside: [&Tensor; N]) -> Result<(f64, [f64; N])> {
        let _guard = tch::no_grad_guard();
        let norms = self.gradients().map(|gradient| gradient.norm());
        let all: Vec<Tensor> = norms
            .chain(beside.iter().map(|number| number.reshape([])))
            .map(|number| number.to_kind(Kind::Double))
            .collect();
        if all.is_empty() {
            return Ok((0.0, [0.0; N]));
        }
        let read = Vec::<f64>::try_from(Tensor::f_stack(&all, 0)?)?;
        let (norms, beside) = read.split_at(read.len() - N);
        // In double precision: the sum runs over millions of squares.
        let squares: f64 = norms.iter().map(|norm| norm * norm).sum();
        Ok((squares.sqrt(), std::array::from_fn(|place| beside[place])))
    }

    /// Scales all gradients, whose common norm is `norm`, down to `max_norm` if they exceed it;
    /// 0 disables clipping.
    pub fn limit_gradients(&mut self, norm: f64, max_norm: f64) {
        let _guard = tch::no_grad_guard();
        if max_norm > 0.0 && norm > max_norm {
            let factor = max_norm / (norm + 1e-6);
            for mut gradient in self.gradients() {
                let _ = gradient.g_mul_scalar_(factor);
            }
        }
    }

    /// Computes the norm and clips; returns the norm before clipping.
    ///
    /// # Errors
    /// Same as [`gradient_norm`](Self::gradient_norm).
    pub fn clip_gradients(&mut self, max_norm: f64) -> Result<f64> {
        let (norm, []) = self.gradient_norm([])?;
        self.limit_gradients(norm, max_norm);
        Ok(norm)
    }

    fn gradients(&self) -> impl Iterator<Item = Tensor> {
        let gradients = self.slots.iter().map(|slot| slot.parameter.tensor.grad());
        gradients.filter(Tensor::defined)
    }

    /// One update at learning rate `rate`. Parameters without a gradient are unchanged.
    pub fn step(&mut self, rate: f64) {
        self.steps += 1;
        let (method, steps) = (self.method, self.steps as f64);
        let device = self.slots.first().map(|slot| slot.first.device());
        let slots = self.slots.iter_mut().collect();
        parallel::each(device.unwrap_or(Device::Cpu), slots, |slot: &mut Slot| {
            tch::no_grad(|| slot.update(method, steps, rate));
        });
    }

    /// All state except the parameters: `first.<name>`, `second.<name>`, and
    /// `master.<name>` of a parameter in lower precision than fp32.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        let mut state = BTreeMap::new();
        for slot in &self.slots {
            state.insert(
                format!("first.{}", slot.parameter.name),
                slot.first.shallow_clone(),
            );
            if let Some(master) = &slot.master {
                state.insert(
                    format!("master.{}", slot.parameter.name),
                    master.shallow_clone(),
                );
            }
            if let Some(second) = &slot.second {
                state.insert(
                    format!("second.{}", slot.parameter.name),
                    second.shallow_clone(),
                );
            }
        }
        state
    }

    /// Continues from a state returned by [`state`](Self::state) after `steps` updates.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for a tensor that is missing, unknown or of another shape; nothing
    /// has changed then.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>, steps: u64) -> Result<()> {
        let own = self.state();
        for (name, tensor) in &own {
            let Some(saved) = state.get(name) else {
                return Err(Error::mismatch(
                    "optimizer state",
                    format!("a tensor {name}"),
                    "none",
                ));
            };
            if saved.size() != tensor.size() {
                return Err(Error::mismatch(
                    format!("optimizer state {name}"),
                    format!("{:?}", tensor.size()),
                    format!("{:?}", saved.size()),
                ));
            }
        }
        if let Some(name) = state.keys().find(|name| !own.contains_key(*name)) {
            return Err(Error::mismatch(
                "optimizer state",
                "only known tensors",
                name,
            ));
        }
        for (name, mut tensor) in own {
            if let Some(saved) = state.get(&name) {
                tensor.f_copy_(saved)?;
            }
        }
        self.steps = steps;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use tch::nn::{self, OptimizerConfig as _};

    /// Two parameters and a loss with distinct gradients at every step.
    struct Problem {
        store: nn::VarStore,
        weight: Tensor,
        bias: Tensor,
        input: Tensor,
    }

    impl Problem {
        fn new() -> Self {
            let store = nn::VarStore::new(tch::Device::Cpu);
            let mut weight = store.root().zeros("weight", &[3, 4]);
            let mut bias = store.root().zeros("bias", &[3]);
            let _guard = tch::no_grad_guard();
            weight.copy_(
                &(Tensor::arange(12, (Kind::Float, tch::Device::Cpu)).view([3, 4]) / 7.0 - 0.8),
            );
            bias.copy_(&Tensor::from_slice(&[0.3f32, -0.2, 0.1]));
            let input = Tensor::arange(20, (Kind::Float, tch::Device::Cpu)).view([5, 4]) / 10.0;
            Self {
                store,
                weight,
                bias,
                input,
            }
        }

        fn loss(&self) -> Tensor {
            let out = self.input.matmul(&self.weight.tr()) + &self.bias;
            (out.sin() + out.square() * 0.1).sum(Kind::Float)
        }

        fn named(&self) -> Vec<(String, Tensor)> {
            self.store.variables().into_iter().collect()
        }

        fn parameters(&self, decay: f64) -> Vec<Parameter> {
            let parameter = |(name, tensor)| Parameter {
                name,
                tensor,
                rate: 1.0,
                decay,
            };
            self.named().into_iter().map(parameter).collect()
        }

        fn values(&self) -> Vec<f32> {
            let mut all: Vec<f32> = self.weight.flatten(0, -1).try_into().unwrap();
            all.extend(Vec::<f32>::try_from(&self.bias).unwrap());
            all
        }
    }

    fn close(a: &[f32], b: &[f32], tolerance: f32) -> bool {
        a.iter()
            .zip(b)
            .all(|(a, b)| (a - b).abs() <= tolerance * (1.0 + b.abs()))
    }

    const ADAMW: Method = Method::AdamW {
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
    };

    fn leaf(name: &str, tensor: &Tensor, rate: f64, decay: f64) -> Parameter {
        Parameter {
            name: name.into(),
            tensor: tensor.shallow_clone(),
            rate,
            decay,
        }
    }

    #[test]
    fn sgd_equals_torchs_own() {
        let (ours, theirs) = (Problem::new(), Problem::new());
        let mut own = Optimizer::new(Method::Sgd { momentum: 0.9 }, ours.parameters(0.0));
        let mut reference = nn::sgd(0.9, 0.0, 0.0, false)
            .build(&theirs.store, 0.05)
            .unwrap();
        for _ in 0..20 {
            own.zero_grad();
            ours.loss().backward();
            own.step(0.05);
            reference.backward_step(&theirs.loss());
        }
        assert!(close(&ours.values(), &theirs.values(), 1e-5));
    }

    #[test]
    fn adamw_equals_torchs_own() {
        let (ours, theirs) = (Problem::new(), Problem::new());
        let mut own = Optimizer::new(ADAMW, ours.parameters(0.0));
        let mut reference = nn::adamw(0.9, 0.999, 0.0)
            .build(&theirs.store, 0.01)
            .unwrap();
        for _ in 0..20 {
            own.zero_grad();
            ours.loss().backward();
            own.step(0.01);
            reference.backward_step(&theirs.loss());
        }
        assert!(close(&ours.values(), &theirs.values(), 1e-4));
    }

    #[test]
    fn a_step_follows_the_closed_formula() {
        let step = |method, rates: &[f64]| {
            let p = Tensor::from_slice(&[2.0f32, -1.0]).set_requires_grad(true);
            let mut optimizer = Optimizer::new(method, vec![leaf("w", &p, 1.0, 0.1)]);
            for rate in rates {
                optimizer.zero_grad();
                (&p * Tensor::from_slice(&[3.0f32, 4.0]))
                    .sum(Kind::Float)
                    .backward();
                optimizer.step(*rate);
            }
            Vec::<f32>::try_from(p.flatten(0, -1)).unwrap()
        };
        // g + decay p = 3.2, 3.9 and then 0.9 v + g + decay p.
        let first = [2.0 - 0.5 * 3.2, -1.0 - 0.5 * 3.9];
        let sgd = Method::Sgd { momentum: 0.9 };
        assert!(close(&step(sgd, &[0.5]), &first, 1e-6));
        let velocity = [
            0.9 * 3.2 + 3.0 + 0.1 * first[0],
            0.9 * 3.9 + 4.0 + 0.1 * first[1],
        ];
        let second = [first[0] - 0.1 * velocity[0], first[1] - 0.1 * velocity[1]];
        assert!(close(&step(sgd, &[0.5, 0.1]), &second, 1e-6));
        // AdamW's first step is rate in the gradient's sign, after the decay.
        let adam = [2.0 * (1.0 - 0.01) - 0.1, -(1.0 - 0.01) - 0.1];
        assert!(close(&step(ADAMW, &[0.1]), &adam, 1e-5));
    }

    #[test]
    fn steps_too_small_for_bf16_add_up() {
        let start = Tensor::ones([1], (Kind::BFloat16, tch::Device::Cpu));
        let p = start.copy().set_requires_grad(true);
        let mut optimizer = Optimizer::new(ADAMW, vec![leaf("p", &p, 1.0, 0.0)]);
        let mut moved = Vec::new();
        for _ in 0..40 {
            optimizer.zero_grad();
            (&p * 2.0).sum(Kind::Float).backward();
            optimizer.step(1e-4);
            moved.push(p.double_value(&[0]));
        }
        assert_eq!(moved[0], 1.0, "bf16 has no value between 1 and 0.996");
        assert!((moved[39] - 0.996).abs() < 1e-3, "{}", moved[39]);
        let state = optimizer.state();
        assert_eq!(state["master.p"].kind(), Kind::Float);
        assert_eq!(state["first.p"].kind(), Kind::Float);
        // Once restored, it continues from the exact value, not from the rounded one.
        let again = start.copy().set_requires_grad(true);
        let mut resumed = Optimizer::new(ADAMW, vec![leaf("p", &again, 1.0, 0.0)]);
        resumed.restore(&state, 40).unwrap();
        assert_eq!(resumed.state()["master.p"], state["master.p"]);
    }

    #[test]
    fn a_parameters_own_rate_multiplies() {
        let one = |rate| {
            let p = Tensor::zeros([1], (Kind::Float, tch::Device::Cpu)).set_requires_grad(true);
            let mut optimizer = Optimizer::new(ADAMW, vec![leaf("p", &p, rate, 0.0)]);
            (&p * 2.0).sum(Kind::Float).backward();
            optimizer.step(0.1);
            p.double_value(&[0])
        };
        assert!((one(0.5) - 0.5 * one(1.0)).abs() < 1e-7);
    }

    #[test]
    fn clipping_scales_to_the_norm_and_reports_it() {
        let p = Tensor::zeros([2], (Kind::Float, tch::Device::Cpu)).set_requires_grad(true);
        let mut optimizer = Optimizer::new(ADAMW, vec![leaf("p", &p, 1.0, 0.0)]);
        (&p * Tensor::from_slice(&[3.0f32, 4.0]))
            .sum(Kind::Float)
            .backward();
        assert!((optimizer.clip_gradients(0.0).unwrap() - 5.0).abs() < 1e-6);
        assert!((optimizer.clip_gradients(1.0).unwrap() - 5.0).abs() < 1e-6);
        assert!((optimizer.clip_gradients(10.0).unwrap() - 1.0).abs() < 1e-5);
    }

    #[test]
    fn a_restored_optimizer_goes_on_bit_for_bit() {
        for method in [Method::Sgd { momentum: 0.9 }, ADAMW] {
            let straight = Problem::new();
            let mut optimizer = Optimizer::new(method, straight.parameters(0.01));
            let mut halfway = None;
            for step in 0..10 {
                if step == 5 {
                    let copy = |state: BTreeMap<String, Tensor>| -> BTreeMap<String, Tensor> {
                        state.into_iter().map(|(k, v)| (k, v.copy())).collect()
                    };
                    let values = copy(straight.named().into_iter().collect());
                    halfway = Some((values, copy(optimizer.state())));
                }
                optimizer.zero_grad();
                straight.loss().backward();
                optimizer.step(0.01);
            }
            let (values, state) = halfway.unwrap();
            let resumed = Problem::new();
            let mut optimizer = Optimizer::new(method, resumed.parameters(0.01));
            {
                let _guard = tch::no_grad_guard();
                for (name, mut tensor) in resumed.named() {
                    tensor.copy_(&values[&name]);
                }
            }
            optimizer.restore(&state, 5).unwrap();
            for _ in 5..10 {
                optimizer.zero_grad();
                resumed.loss().backward();
                optimizer.step(0.01);
            }
            assert_eq!(straight.values(), resumed.values());
        }
    }

    #[test]
    fn a_state_that_does_not_fit_is_refused() {
        let problem = Problem::new();
        let mut optimizer = Optimizer::new(ADAMW, problem.parameters(0.0));
        let mut state = optimizer.state();
        state.remove("second.bias");
        assert!(optimizer.restore(&state, 1).is_err());
        state.insert(
            "second.bias".into(),
            Tensor::zeros([4], (Kind::Float, tch::Device::Cpu)),
        );
        assert!(optimizer.restore(&state, 1).is_err());
        assert_eq!(optimizer.steps(), 0);
    }
}

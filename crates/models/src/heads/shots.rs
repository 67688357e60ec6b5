//! The training clips of a head, with the class texts.

use tch::{Kind, Tensor};

use crate::scores::unit;
use crate::{Error, Result};

/// Training clips and class texts, in double precision.
#[derive(Debug)]
pub(super) struct Shots {
    /// Unit-length video features: `[N, D]`.
    pub features: Tensor,
    /// `[N]`
    pub classes: Vec<i64>,
    /// Unit-length text features: `[K, D]`.
    pub text: Tensor,
    /// 1 / τ of the zero-shot classifier.
    pub scale: f64,
}

impl Shots {
    /// Normalises `features`, `[N, D]`, of clips of every class, and `text`, `[K, D]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the features do not fit the classes, [`Error::TargetClass`] for a class
    /// without a text.
    pub(super) fn new(
        features: &Tensor,
        classes: &[i64],
        text: &Tensor,
        scale: f64,
    ) -> Result<Self> {
        let (size, width) = (features.size(), text.size()[1]);
        if size != [classes.len() as i64, width] {
            return Err(Error::Shape {
                op: "training clips of a head",
                expected: format!("[{}, {width}]", classes.len()),
                got: size,
            });
        }
        let most = text.size()[0] - 1;
        if let Some(&got) = classes.iter().find(|class| !(0..=most).contains(*class)) {
            return Err(Error::TargetClass { most, got });
        }
        Ok(Self {
            features: unit(&features.to_kind(Kind::Double)),
            classes: classes.to_vec(),
            text: unit(&text.to_kind(Kind::Double)),
            scale,
        })
    }

    /// The clips at `places` alone.
    pub(super) fn part(&self, places: &[usize]) -> Self {
        let rows: Vec<i64> = places.iter().map(|place| *place as i64).collect();
        let rows = Tensor::from_slice(&rows).to_device(self.features.device());
        let class = |place: &usize| self.classes.get(*place).copied();
        Self {
            features: self.features.index_select(0, &rows),
            classes: places.iter().filter_map(class).collect(),
            text: self.text.shallow_clone(),
            scale: self.scale,
        }
    }

    /// N
    pub(super) fn count(&self) -> i64 {
        self.classes.len() as i64
    }

    /// The classes as a tensor: `[N]`.
    pub(super) fn truth(&self) -> Tensor {
        Tensor::from_slice(&self.classes).to_device(self.features.device())
    }

    /// 1 in the column of each clip's class: `[N, K]`.
    pub(super) fn one_hot(&self) -> Tensor {
        self.truth()
            .one_hot(self.text.size()[0])
            .to_kind(Kind::Double)
    }

    /// The sum of each class's features: `[K, D]`.
    pub(super) fn class_sums(&self) -> Tensor {
        self.one_hot().tr().matmul(&self.features)
    }

    /// The mean of each class's features: `[K, D]`.
    pub(super) fn class_means(&self) -> Tensor {
        let clips = self.one_hot().sum_dim_intlist(0, false, Kind::Double);
        self.class_sums() / clips.unsqueeze(1)
    }

    /// The zero-shot classifier, 1 / τ times the texts: `[D, K]`.
    pub(super) fn zero_shot(&self) -> Tensor {
        self.text.tr() * self.scale
    }
}

/// Gradient of the mean cross-entropy with respect to `logits`, `[N, K]`.
pub(super) fn cross_entropy_gradient(logits: &Tensor, one_hot: &Tensor) -> Tensor {
    (logits.softmax(-1, Kind::Double) - one_hot) / one_hot.size()[0] as f64
}

//! Start walkers from a data set's mixture of Gaussians under noise of one level.

use crate::density::{Base, DataMixture, Energy, Evaluation, floats};
use crate::numeric::Rng;
use tch::Tensor;

/// A [`DataMixture`] under noise of one level: normalised.
#[derive(Debug)]
pub(crate) struct NoisyMixture {
    known: DataMixture,
    s: Tensor,
}

impl NoisyMixture {
    /// Under noise of variance s, `[1]` in f64.
    pub(super) fn new(known: DataMixture, s: Tensor) -> Self {
        NoisyMixture { known, s }
    }

    fn along(&self, x: &Tensor) -> Tensor {
        let axes = self.known.axes();
        axes.to_axes(&floats(x, axes.dim(), axes.mean().kind()).to_kind(axes.mean().kind()))
    }
}

impl Energy for NoisyMixture {
    fn energy(&self, x: &Tensor) -> Tensor {
        self.known.energy(&self.along(x), &self.s)
    }

    fn evaluate(&self, x: &Tensor) -> Evaluation {
        let known = self.known.at(&self.along(&x.detach()), &self.s);
        Evaluation::new(x.detach(), known.energy, self.known.axes().turn_back(&known.grad))
    }
}

impl Base for NoisyMixture {
    fn sample(&self, n: usize, rng: &mut Rng) -> Tensor {
        self.known.axes().from_axes(&self.known.sample(n as i64, &self.s, rng))
    }

    fn log_z(&self) -> f64 {
        0.0
    }
}

//! Give Neal's funnel: a width that varies by orders of magnitude along one coordinate.

use super::{LOG_2PI, at_least};
use crate::density::{Base, Differentiable, Energy, Evaluation, floats};
use crate::error::Result;
use crate::numeric::Rng;
use tch::{Device, Kind, Tensor};

/// Var x_0.
const VARIANCE: f64 = 9.0;

/// x_0 ~ N(0, 9), x_i given x_0 ~ N(0, e^{x_0}) for i = 1 … d − 1 (Neal 2003), normalised:
///
/// ```text
/// U(x) = x_0²/18 + ½ Σ_i x_i² e^{−x_0} + ½ (d − 1) x_0 + ½ log 9 + ½ d log 2π        log Z = 0
/// ```
///
/// 9 is the variance, as in Zhang & Chen 2022 (arXiv 2111.15141), Vargas et al. 2023 (arXiv 2302.13834) and the tables after them,
/// with d = 10. E x = 0, E x_0² = 9, E x_i² = e^{4.5} ≈ 90, with a tail so heavy that its sample mean is useless: compare
/// E x_0², or x_i e^{−x_0/2} ~ N(0, 1).
///
/// ```
/// use jarzynski::{Base, model::targets::Funnel};
/// assert_eq!(Funnel::new(10).unwrap().log_z(), 0.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Funnel {
    d: i64,
}

impl Funnel {
    /// In d dimensions, at least 2.
    ///
    /// # Errors
    /// d below 2.
    pub fn new(d: i64) -> Result<Self> {
        Ok(Funnel { d: at_least("d", d, 2)? })
    }

    /// Dimension d.
    pub fn dim(&self) -> i64 {
        self.d
    }

    /// x_0 `[n]`, the others `[n, d − 1]`, Σ x_i² e^{−x_0} `[n]`.
    fn parts(&self, x: &Tensor) -> (Tensor, Tensor, Tensor) {
        let x = floats(x, self.d, Kind::Double);
        let (first, rest) = (x.select(1, 0), x.narrow(1, 1, self.d - 1));
        let scaled = rest.square().sum_dim_intlist(-1, false, None::<Kind>) * (-&first).exp();
        (first, rest, scaled)
    }

    fn of_parts(&self, first: &Tensor, scaled: &Tensor) -> Tensor {
        let others = (self.d - 1) as f64;
        first.square() * (0.5 / VARIANCE)
            + scaled * 0.5
            + first * (0.5 * others)
            + (0.5 * VARIANCE.ln() + 0.5 * self.d as f64 * LOG_2PI)
    }
}

impl Differentiable for Funnel {}

impl Energy for Funnel {
    fn energy(&self, x: &Tensor) -> Tensor {
        let (first, _, scaled) = self.parts(x);
        self.of_parts(&first, &scaled)
    }

    fn evaluate(&self, x: &Tensor) -> Evaluation {
        crate::error::no_grad(|| {
            let (first, rest, scaled) = self.parts(x);
            let along = &first / VARIANCE - &scaled * 0.5 + 0.5 * (self.d - 1) as f64;
            let across = rest * (-&first).exp().unsqueeze(-1);
            let grad = Tensor::cat(&[along.unsqueeze(-1), across], 1);
            Evaluation::new(x.shallow_clone(), self.of_parts(&first, &scaled), grad)
        })
    }
}

impl Base for Funnel {
    fn sample(&self, n: usize, rng: &mut Rng) -> Tensor {
        let z = rng.normal(&[n as i64, self.d], Kind::Double, Device::Cpu);
        let first = z.narrow(1, 0, 1) * VARIANCE.sqrt();
        let rest = z.narrow(1, 1, self.d - 1) * (&first * 0.5).exp();
        Tensor::cat(&[first, rest], 1)
    }

    fn log_z(&self) -> f64 {
        0.0
    }
}

//! Give visible units that are spins, −1 or +1.

use super::binary::{draw, softplus_sum};
use super::visible::{refuse, replaced};
use super::{Rbm, RbmShape, Units, Visible, sum};
use crate::error::Result;
use crate::numeric::Rng;
use tch::{Kind, Tensor};

/// v_j ∈ {−1, +1}: E(v) = −b·v, p(v_j = +1 | h) = σ(2g_j). Hidden units stay 0 or 1.
///
/// ```text
/// log p(v | h) = Σ v g − log(2 cosh g)        E(v_j | h) = tanh g_j
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Ising;

/// Σ_j log(2 cosh g_j) = Σ log(1 + e^{2g}) − g.
fn log_two_cosh(g: &Tensor) -> Tensor {
    softplus_sum(&(g * 2.0)) - sum(g)
}

impl Visible for Ising {
    fn name(&self) -> &'static str {
        "ising"
    }

    fn levels(&self) -> Option<i64> {
        Some(2)
    }

    fn with_parameter(&self, _: Option<Tensor>) -> Box<dyn Visible> {
        Box::new(*self)
    }

    fn draw(&self, of: &Units, h: &Tensor, rng: &mut Rng) -> Tensor {
        draw(&(self.input(of, h) * 2.0), rng) * 2.0 - 1.0
    }

    fn log_density(&self, v: &Tensor, g: &Tensor) -> Tensor {
        sum(&(g * v)) - log_two_cosh(g)
    }

    fn log_sum(&self, of: &Units, h: &Tensor) -> Tensor {
        log_two_cosh(&self.input(of, h))
    }

    fn mean(&self, g: &Tensor) -> Tensor {
        g.tanh()
    }

    fn mean_square(&self, mean: &Tensor) -> Tensor {
        mean.ones_like()
    }

    fn encode(&self, numbers: &Tensor) -> Tensor {
        numbers * 2.0 - 1.0
    }

    fn alternatives(&self, v: &Tensor, unit: &Tensor) -> Vec<Tensor> {
        vec![replaced(v, unit, |one| -one)]
    }

    fn check(&self, v: &Tensor) -> Result<()> {
        refuse(v, |v| v.abs().ne(1.0), "−1 or +1 for Ising visible units")
    }
}

impl Units {
    /// Spins ±1 as visible units: W `[d_v, d_h]`, b `[d_v]`, c `[d_h]`.
    ///
    /// # Errors
    /// Shapes that do not fit, numbers that are not finite.
    pub fn ising(w: &Tensor, b: &Tensor, c: &Tensor) -> Result<Self> {
        Self::new(w, b, c, Box::new(Ising))
    }
}

impl Rbm {
    /// Spins as visible units, for data `[n, d_v]` of −1 and +1, with the data's kind and device.
    ///
    /// ```
    /// use jarzynski::{Rng, model::{Rbm, RbmShape}, tch::{Device, Kind}};
    /// # fn main() -> jarzynski::Result<()> {
    /// let spins = Rng::new(1).uniform_tensor(&[100, 6], Kind::Float, Device::Cpu).round() * 2.0 - 1.0;
    /// let rbm = Rbm::ising(&spins, &RbmShape { hidden: 4, ..Default::default() })?;
    /// assert!(rbm.exact_log_likelihood(&spins)? < 0.0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Data outside {−1, +1}, no hidden unit, a scale that is negative.
    pub fn ising(data: &Tensor, shape: &RbmShape) -> Result<Self> {
        super::check_start(data, &Ising)?;
        let (mean, n) = (data.mean_dim(0, false, None::<Kind>), data.size()[0] as f64);
        // half an observation of each state
        let up = ((&mean + 1.0) * (0.5 * n) + 0.5) / (n + 1.0);
        Self::build(up.logit(None::<f64>) * 0.5, Box::new(Ising), shape, shape.centred.then_some(mean))
    }
}

//! Give binary visible units, 0 or 1.

use super::binary::{draw_shifted, softplus_sum};
use super::visible::{refuse, replaced};
use super::{Rbm, RbmShape, Units, Visible, sum};
use crate::error::Result;
use crate::numeric::Rng;
use tch::{Kind, Tensor};

/// v_j ∈ {0, 1}: E(v) = −b·v, p(v_j = 1 | h) = σ(g_j), (40), (42).
#[derive(Debug, Clone, Copy)]
pub struct Bernoulli;

impl Visible for Bernoulli {
    fn name(&self) -> &'static str {
        "bernoulli"
    }

    fn levels(&self) -> Option<i64> {
        Some(2)
    }

    fn is_binary(&self) -> bool {
        true
    }

    fn with_parameter(&self, _: Option<Tensor>) -> Box<dyn Visible> {
        Box::new(*self)
    }

    fn draw(&self, of: &Units, h: &Tensor, rng: &mut Rng) -> Tensor {
        // the bias is added where the draw passes over the product anyway
        draw_shifted(h.matmul(&of.w.tr()), &of.b, rng)
    }

    /// Σ v g − log(1 + e^g), (45).
    fn log_density(&self, v: &Tensor, g: &Tensor) -> Tensor {
        sum(&(g * v)) - softplus_sum(g)
    }

    fn log_sum(&self, of: &Units, h: &Tensor) -> Tensor {
        softplus_sum(&self.input(of, h))
    }

    fn mean(&self, g: &Tensor) -> Tensor {
        g.sigmoid()
    }

    fn mean_square(&self, mean: &Tensor) -> Tensor {
        mean.shallow_clone()
    }

    fn alternatives(&self, v: &Tensor, unit: &Tensor) -> Vec<Tensor> {
        vec![replaced(v, unit, |one| 1.0 - one)]
    }

    fn check(&self, v: &Tensor) -> Result<()> {
        let expected = "0 or 1 for binary visible units (`Dataset::binarise` makes such data)";
        refuse(v, |v| (v * (v - 1.0)).ne(0.0), expected)
    }
}

impl Units {
    /// Binary visible units: W `[d_v, d_h]`, b `[d_v]`, c `[d_h]`.
    ///
    /// # Errors
    /// Shapes that do not fit, numbers that are not finite.
    pub fn bernoulli(w: &Tensor, b: &Tensor, c: &Tensor) -> Result<Self> {
        Self::new(w, b, c, Box::new(Bernoulli))
    }
}

impl Rbm {
    /// Binary visible units, for data `[n, d_v]` of zeros and ones, with the data's kind and device.
    ///
    /// # Errors
    /// Data outside {0, 1} ([`Dataset::binarise`](crate::data::Dataset::binarise) makes some), no hidden unit, a scale that is
    /// negative.
    pub fn bernoulli(data: &Tensor, shape: &RbmShape) -> Result<Self> {
        super::check_start(data, &Bernoulli)?;
        let (mean, n) = (data.mean_dim(0, false, None::<Kind>), data.size()[0] as f64);
        // half an observation of each kind: a pixel that is never set has a finite bias
        let share = (&mean * n + 0.5) / (n + 1.0);
        let b = share.logit(None::<f64>);
        Self::build(b, Box::new(Bernoulli), shape, shape.centred.then_some(mean))
    }
}

//! Give real visible units with a learned variance each.

use super::{Exact, Rbm, RbmShape, Units, Visible, sum};
use crate::error::{Error, Result};
use crate::numeric::Rng;
use tch::{Kind, Tensor};

/// v_j real: E(v) = Σ (v − b)²/2σ², u_j = v_j/σ_j, p(v_j | h) = N(m_j, σ_j²) with m = b + σ(Wh), (46).
///
/// (48) prints b + Wh for the mean, without σ: inconsistent with (46).
#[derive(Debug)]
pub struct Normal {
    /// log σ², `[d_v]`.
    log_var: Tensor,
}

impl Normal {
    /// With log σ² `[d_v]`.
    pub fn new(log_var: Tensor) -> Self {
        Normal { log_var }
    }

    fn sigma(&self) -> Tensor {
        (&self.log_var * 0.5).exp()
    }

    fn precision(&self) -> Tensor {
        (-&self.log_var).exp()
    }

    /// Σ ½ log 2πσ².
    fn norm(&self) -> Tensor {
        (&self.log_var + (2.0 * std::f64::consts::PI).ln()).sum(Kind::Double) * 0.5
    }
}

impl Visible for Normal {
    fn name(&self) -> &'static str {
        "gaussian"
    }

    fn levels(&self) -> Option<i64> {
        None
    }

    fn parameter(&self) -> Option<(&'static str, &Tensor)> {
        Some(("log_var", &self.log_var))
    }

    fn with_parameter(&self, parameter: Option<Tensor>) -> Box<dyn Visible> {
        Box::new(Normal { log_var: parameter.unwrap_or_else(|| self.log_var.copy()) })
    }

    fn coupled(&self, v: &Tensor) -> Tensor {
        v / self.sigma()
    }

    fn input(&self, of: &Units, h: &Tensor) -> Tensor {
        h.matmul(&of.w.tr()) * self.sigma() + &of.b
    }

    fn draw(&self, of: &Units, h: &Tensor, rng: &mut Rng) -> Tensor {
        let m = self.input(of, h);
        let noise = rng.normal(&m.size(), m.kind(), m.device());
        m + noise * self.sigma()
    }

    fn energy(&self, v: &Tensor, b: &Tensor) -> Tensor {
        sum(&((v - b).square() * self.precision())) * 0.5
    }

    fn log_density(&self, v: &Tensor, g: &Tensor) -> Tensor {
        sum(&((v - g).square() * self.precision())) * -0.5 - self.norm()
    }

    /// Σ_j log √(2π) σ_j + b_j y_j/σ_j + y_j²/2 with y = Wh.
    fn log_sum(&self, of: &Units, h: &Tensor) -> Tensor {
        let y = h.matmul(&of.w.tr());
        let each = &y * &of.b * (&self.log_var * -0.5).exp() + y.square() * 0.5;
        sum(&each) + self.norm()
    }

    fn mean(&self, g: &Tensor) -> Tensor {
        g.shallow_clone()
    }

    fn mean_square(&self, mean: &Tensor) -> Tensor {
        mean.square() + self.log_var.exp()
    }

    /// Kept, so that at β = 0 v has its mean and variance.
    fn tempered_bias(&self, b: &Tensor, _beta: f64) -> Tensor {
        b.copy()
    }

    fn check(&self, _v: &Tensor) -> Result<()> {
        Ok(())
    }

    fn gradients(
        &self,
        of: &Units,
        v: &Tensor,
        weight: &Tensor,
        _coupled: &Tensor,
        product: &Tensor,
    ) -> (Tensor, Option<Tensor>) {
        let (away, precision) = (v - &of.b, self.precision());
        let spread = away.square().tr().mv(weight) * &precision * 0.5;
        // ∂F/∂log σ² = −(v − b)²/2σ² + ½ u (W σ(a)), whose second part is the product of W's gradient with W
        let turn = (product * &of.w).sum_dim_intlist(-1, false, None::<Kind>) * 0.5;
        (-away.tr().mv(weight) * precision, Some(turn - spread))
    }

    fn bias_scale(&self) -> Option<Tensor> {
        Some(self.sigma())
    }

    fn parameter_gradient(&self, of: &Units, v: &Tensor, p: &Tensor) -> Option<Tensor> {
        let turn = self.coupled(v) * p.matmul(&of.w.tr());
        Some((turn - (v - &of.b).square() * self.precision()) * 0.5)
    }

    fn expected_gradients(&self, of: &Units, exact: &Exact) -> (Tensor, Option<Tensor>) {
        let precision = self.precision();
        let spread = (&exact.v2 - &of.b * &exact.v * 2.0 + of.b.square()) * &precision * 0.5;
        let turn = sum(&(&exact.uh * &of.w)) * 0.5;
        (-(&exact.v - &of.b) * precision, Some(turn - spread))
    }
}

impl Units {
    /// Gaussian visible units: W `[d_v, d_h]`, b `[d_v]`, c `[d_h]`, standard deviations σ `[d_v]`.
    ///
    /// # Errors
    /// Shapes that do not fit, numbers that are not finite, a σ that is not positive.
    pub fn gaussian(w: &Tensor, b: &Tensor, c: &Tensor, sigma: &Tensor) -> Result<Self> {
        super::units::check_vector("sigma", sigma, w.size().first().copied().unwrap_or(0), w)?;
        let least = sigma.min().double_value(&[]);
        if least <= 0.0 {
            return Err(Error::param("sigma", least, "positive standard deviations"));
        }
        Self::new(w, b, c, Box::new(Normal::new(sigma.square().log())))
    }
}

/// The variance of each column of `data` `[n, d]`, bounded below in the column's own units.
///
/// A column of one value has no variance of its own: it is given a hundredth of its mean as σ; where that is 0 too, a hundredth
/// of the narrowest other column's, or of 1.
fn variances(data: &Tensor, mean: &Tensor) -> Tensor {
    let variance = (data - mean).square().mean_dim(0, false, None::<Kind>);
    // by the values themselves: the rounding of a large mean looks like variance
    let varies = data.amax(0, false).ne_tensor(&data.amin(0, false)).logical_and(&variance.gt(0.0));
    let known = variance.where_scalarother(&varies, f64::INFINITY);
    let narrowest = known.min().double_value(&[]);
    let narrowest = if narrowest.is_finite() { narrowest } else { 1.0 };
    let of_mean = mean.square();
    let scale = of_mean.where_scalarother(&of_mean.gt(0.0), narrowest);
    variance.where_self(&varies, &(scale * 1e-4))
}

impl Rbm {
    /// Gaussian visible units with learned variances, for real data `[n, d_v]`; columns may have any scales.
    ///
    /// # Errors
    /// Data that are not finite, no hidden unit, a negative scale, centred gradients.
    pub fn gaussian(data: &Tensor, shape: &RbmShape) -> Result<Self> {
        super::check_width(data)?;
        if shape.centred {
            return Err(Error::param("centred", true, "false for Gaussian visible units: their means are parameters"));
        }
        let mean = data.mean_dim(0, false, None::<Kind>);
        let log_var = variances(data, &mean).log();
        Self::build(mean, Box::new(Normal::new(log_var)), shape, None)
    }
}

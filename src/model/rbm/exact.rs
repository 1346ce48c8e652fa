//! Sum over all states of an RBM's smaller layer: log Z and expectations, exactly, in blocks of bounded memory.

use super::binary::softplus_sum;
use super::{Rbm, Units};
use crate::density::Model;
use crate::error::{Error, Result};
use tch::{Kind, Tensor};

/// Largest layer that is enumerated.
const MOST: i64 = 25;
/// States at a time.
const BLOCK: i64 = 1 << 13;

/// Exact expectations under an RBM, in f64, on its device.
#[derive(Debug)]
pub struct Exact {
    /// log Z, nats.
    pub log_z: f64,
    /// E v, `[d_v]`.
    pub v: Tensor,
    /// E h, `[d_h]`.
    pub h: Tensor,
    /// E u hᵀ with u = v or v/σ, `[d_v, d_h]`.
    pub uh: Tensor,
    /// E v², `[d_v]`.
    pub v2: Tensor,
}

/// Which layer is enumerated; the other one is summed in closed form.
enum Layer {
    Hidden,
    Visible,
}

impl Units {
    fn layer(&self) -> Result<Layer> {
        let (dv, dh) = self.dims();
        let (layer, k) = if self.log_var.is_some() || dh <= dv { (Layer::Hidden, dh) } else { (Layer::Visible, dv) };
        if k <= MOST {
            return Ok(layer);
        }
        let work = (k as f64) * 2f64.ln() / 10f64.ln() + (dv.max(dh) as f64).log10();
        let expected = format!(
            "a smaller layer of at most {MOST} units: this one has 2^{k} states, about 10^{work:.0} operations. \
             `Ais` estimates log Z of any size"
        );
        Err(Error::param("units to enumerate", k, expected))
    }

    /// log of the weight of each state of the enumerated layer, `[m]`: Σ over the other layer in closed form.
    fn log_weights(&self, layer: &Layer, states: &Tensor) -> Tensor {
        match layer {
            // e^{c·h} Π_j Σ_{v_j} …: Π(1 + e^{g_j}), or Π √(2π) σ_j exp(b_j y_j/σ_j + y_j²/2) with y = Wh
            Layer::Hidden => {
                let bias = states.mv(&self.c);
                match &self.log_var {
                    None => bias + softplus_sum(&self.visible_input(states)),
                    Some(log_var) => {
                        let y = states.matmul(&self.w.tr());
                        let norm = (log_var + (2.0 * std::f64::consts::PI).ln()).sum(Kind::Double) * 0.5;
                        let each = &y * &self.b * (log_var * -0.5).exp() + y.square() * 0.5;
                        bias + each.sum_dim_intlist(-1, false, Kind::Double) + norm
                    }
                }
            }
            Layer::Visible => -self.free_energy(states, &self.hidden_input(states)),
        }
    }

    fn each_block(&self, layer: &Layer, mut f: impl FnMut(&Tensor)) {
        let (dv, dh) = self.dims();
        let (k, place) = (if matches!(layer, Layer::Hidden) { dh } else { dv }, (Kind::Int64, self.w.device()));
        let total = 1i64 << k;
        let bits = Tensor::arange(k, place);
        let mut first = 0;
        while first < total {
            let index = Tensor::arange_start(first, total.min(first + BLOCK), place);
            let states = index.unsqueeze(-1).bitwise_right_shift(&bits).bitwise_and(1).to_kind(Kind::Double);
            f(&states);
            first += BLOCK;
        }
    }

    fn log_z(&self, layer: &Layer) -> f64 {
        let mut parts = Vec::new();
        self.each_block(layer, |states| parts.push(self.log_weights(layer, states).logsumexp(0, false)));
        Tensor::stack(&parts, 0).logsumexp(0, false).double_value(&[])
    }

    fn expectations(&self, layer: &Layer) -> Exact {
        let (log_z, (dv, dh)) = (self.log_z(layer), self.dims());
        let zeros = |size: &[i64]| Tensor::zeros(size, (Kind::Double, self.w.device()));
        let (mut v, mut h, mut uh, mut v2) = (zeros(&[dv]), zeros(&[dh]), zeros(&[dv, dh]), zeros(&[dv]));
        self.each_block(layer, |states| {
            let p = (self.log_weights(layer, states) - log_z).exp();
            let (mean_v, mean_h) = match layer {
                Layer::Hidden => {
                    let g = self.visible_input(states);
                    (if self.log_var.is_some() { g } else { g.sigmoid() }, states.shallow_clone())
                }
                Layer::Visible => (states.shallow_clone(), self.hidden_input(states).sigmoid()),
            };
            // given the enumerated layer the other one's units are independent
            let square = match &self.log_var {
                None => mean_v.shallow_clone(),
                Some(l) => mean_v.square() + l.exp(),
            };
            let (weighted, column) = (&mean_h * p.unsqueeze(-1), p.unsqueeze(0));
            v = &v + column.matmul(&mean_v).squeeze_dim(0);
            v2 = &v2 + column.matmul(&square).squeeze_dim(0);
            h = &h + weighted.sum_dim_intlist(0, false, Kind::Double);
            uh = &uh + self.scaled(&mean_v).tr().matmul(&weighted);
        });
        Exact { log_z, v, h, uh, v2 }
    }
}

impl Rbm {
    /// log Z by enumerating the smaller layer (the hidden one where visible units are Gaussian), nats.
    ///
    /// Errors: more than 25 units to enumerate; the message gives the cost.
    pub fn exact_log_z(&self) -> Result<f64> {
        let units = self.units().double();
        let layer = units.layer()?;
        Ok(crate::error::no_grad(|| units.log_z(&layer)))
    }

    /// Exact expectations. Errors: as [`exact_log_z`](Rbm::exact_log_z).
    pub fn exact(&self) -> Result<Exact> {
        let units = self.units().double();
        let layer = units.layer()?;
        Ok(crate::error::no_grad(|| units.expectations(&layer)))
    }

    /// Mean exact log-likelihood of rows v, nats. Errors: as [`exact_log_z`](Rbm::exact_log_z), rows of the wrong width.
    pub fn exact_log_likelihood(&self, v: &Tensor) -> Result<f64> {
        Ok(self.log_likelihood(v, self.exact_log_z()?)?.mean(Kind::Double).double_value(&[]))
    }

    /// The exact gradient (4) of the cross-entropy of rows v `[n, d_v]`, in f64 on the RBM's device, one tensor per parameter
    /// in the store's order.
    ///
    /// Errors: as [`exact_log_z`](Rbm::exact_log_z), rows of the wrong width or not finite.
    pub fn exact_gradient(&self, v: &Tensor) -> Result<Vec<Tensor>> {
        crate::density::check_rows("v", v, self.dims().0)?;
        let exact = self.exact()?;
        let units = self.units().double();
        let mut at = self.evaluate_data(&v.to_kind(self.options().0).to_device(self.options().1));
        let w = at.u.full_like(1.0 / at.len() as f64);
        let data = self.param_grad(&mut at, &w);
        let mut model = vec![-exact.uh.copy(), -exact.v.copy(), -exact.h];
        if let Some(log_var) = &units.log_var {
            let precision = (-log_var).exp();
            let spread = (exact.v2 - &units.b * &exact.v * 2.0 + units.b.square()) * &precision * 0.5;
            model[1] = -(exact.v - &units.b) * precision;
            model.push((exact.uh * &units.w).sum_dim_intlist(-1, false, Kind::Double) * 0.5 - spread);
        }
        Ok(data.into_iter().zip(model).map(|(d, m)| d.to_kind(Kind::Double) - m).collect())
    }
}

//! Give the law of independent units, W = 0: where an RBM's walkers start exactly.

use super::Units;
use super::binary::softplus_sum;
use crate::density::{Base, Energy};
use crate::numeric::Rng;
use tch::{Kind, Tensor};

/// v_j ~ Bernoulli(σ(b_j)) or N(b_j, σ_j²) and, for joint rows, h_i ~ Bernoulli(½), all independent.
#[derive(Debug)]
pub(super) struct Independent {
    units: Units,
    joint: bool,
}

impl Independent {
    pub fn new(b: Tensor, hidden: i64, log_var: Option<Tensor>, joint: bool) -> Self {
        let options = (b.kind(), b.device());
        let (w, c) = (Tensor::zeros([b.size()[0], hidden], options), Tensor::zeros([hidden], options));
        Independent { units: Units { w, b, c, log_var: log_var.map(|l| l.copy()) }, joint }
    }

    pub fn units(&self) -> Units {
        self.units.copy()
    }

    pub fn same(&self) -> Self {
        Independent { units: self.units.copy(), joint: self.joint }
    }
}

impl Energy for Independent {
    fn energy(&self, x: &Tensor) -> Tensor {
        let (v, h) = self.units.split(x);
        let a = self.units.c.expand([v.size()[0], self.units.dims().1], false).contiguous();
        h.map_or_else(|| self.units.free_energy(&v, &a), |h| self.units.energy(&v, &h, &a))
    }
}

impl Base for Independent {
    fn sample(&self, n: usize, rng: &mut Rng) -> Tensor {
        let (_, dh) = self.units.dims();
        let h = Tensor::zeros([n as i64, dh], (self.units.b.kind(), self.units.b.device()));
        // with W = 0 it does not matter which h v is drawn from
        let v = self.units.draw_visible(&h, rng);
        if !self.joint {
            return v;
        }
        let h = self.units.draw_hidden(&h, rng);
        Tensor::cat(&[v, h], -1)
    }

    fn log_z(&self) -> f64 {
        let u = &self.units;
        let one = |t: &Tensor| softplus_sum(&t.unsqueeze(0)).double_value(&[0]);
        let visible = match &u.log_var {
            None => one(&u.b),
            Some(l) => (l + (2.0 * std::f64::consts::PI).ln()).sum(Kind::Double).double_value(&[]) * 0.5,
        };
        visible + one(&u.c)
    }
}

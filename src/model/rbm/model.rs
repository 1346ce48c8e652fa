//! Make an RBM a model: its energy, its gradient in θ and its base, for training and annealing.

use super::binary::weighted_means;
use super::{Rbm, Units, exact};
use crate::density::{
    Along, Annealed, Base, Bipartite, Energy, Evaluation, Fisher, Layers, LayersPath, Model, Weigh, flips_by_energy,
};
use crate::error::{Result, guard, no_grad};
use crate::numeric::Rng;
use tch::{Device, Kind, Tensor, nn};

impl Bipartite for Rbm {
    type Layers = Units;

    fn layers(&self) -> Units {
        self.units()
    }

    /// Independent units with the data's means and variances.
    fn start(&self) -> Units {
        self.base.layers().share()
    }

    fn joint(&self) -> bool {
        self.joint
    }
}

impl Annealed for Rbm {
    type Path<'a> = LayersPath<Units>;

    fn path(&self) -> Result<LayersPath<Units>> {
        LayersPath::to(self)
    }
}

impl Energy for Rbm {
    /// F at rows v `[n, d_v]`, U at rows (v | h) `[n, d_v + d_h]`.
    fn energy(&self, x: &Tensor) -> Tensor {
        self.units.evaluate_rows(x).u
    }

    /// The same with the hidden units' inputs kept; there is no gradient in x.
    fn evaluate(&self, x: &Tensor) -> Evaluation {
        self.units().evaluate_rows(x)
    }
}

impl Model for Rbm {
    fn vars(&self) -> &nn::VarStore {
        &self.vs
    }

    fn vars_mut(&mut self) -> &mut nn::VarStore {
        &mut self.vs
    }

    fn base(&self) -> Result<Box<dyn Base>> {
        Ok(Box::new(self.base.share()))
    }

    fn copy(&self) -> Option<Self> {
        let copy = Rbm::from_units(&self.units, self.joint).ok()?;
        Some(Rbm { base: self.base.share(), centre: self.centre.as_ref().map(Tensor::copy), ..copy })
    }

    fn dim(&self) -> i64 {
        self.dims().0
    }

    fn constants(&self) -> serde_json::Value {
        let visible = &self.units.visible;
        serde_json::json!({ "visible": visible.name(), "states": visible.levels(), "joint": self.joint, "centred": self.centre.is_some() })
    }

    fn with_hidden(&self, x: &Tensor, rng: &mut Rng) -> Tensor {
        if !self.joint {
            return x.shallow_clone();
        }
        let units = self.units();
        Tensor::cat(&[x, &units.draw_hidden(&units.hidden_input(x), rng)], -1)
    }

    fn check_data(&self, x: &Tensor) -> Result<()> {
        guard(|| self.units.visible.check(x))
    }

    fn is_binary(&self) -> bool {
        self.units.visible.is_binary()
    }

    fn param_grad(&self, at: &mut Evaluation, w: &Tensor) -> Vec<Tensor> {
        no_grad(|| {
            let units = self.units();
            let (v, h) = units.split(&at.x);
            let weight = w.to_kind(v.kind());
            // ∂U/∂W = −uᵀh, and F's the same with the means of h; the last column gives Σ w u
            let p = match (&h, at.input()) {
                (Some(h), _) => Tensor::cat(&[h * weight.unsqueeze(-1), weight.unsqueeze(-1)], -1),
                (None, Some(a)) => weighted_means(a, w),
                (None, None) => weighted_means(&units.hidden_input(&v), w),
            };
            let dh = units.dims().1;
            let both = units.visible.coupled(&v).tr().matmul(&p);
            let (product, coupled) = (both.narrow(-1, 0, dh), both.select(-1, dh));
            let hidden = p.sum_dim_intlist(0, false, None::<Kind>).narrow(0, 0, dh);
            let (b, own) = units.visible.gradients(&units, &v, &weight, &coupled, &product);
            [-product, b, -hidden].into_iter().chain(own).collect()
        })
    }

    fn flips(&self, x: &Tensor, units: &[i64], weigh: &mut Weigh) -> Vec<Tensor> {
        match self.is_binary() {
            true => no_grad(|| self.units().flips(x, units, weigh)),
            false => flips_by_energy(self, x, units, weigh),
        }
    }

    fn precondition(&self, grads: Vec<Tensor>) -> Vec<Tensor> {
        let (Some(mu), [w, b, c]) = (&self.centre, &grads[..]) else { return grads };
        let units = self.units();
        let mean = (&units.c + mu.matmul(&units.w)).sigmoid();
        let (column, row) = (mu.unsqueeze(-1), mean.unsqueeze(0));
        let w = w - column * c.unsqueeze(0) - b.unsqueeze(-1) * row;
        let (b, c) = (b - w.mv(&mean), c - mu.matmul(&w));
        vec![w, b, c]
    }

    fn fisher(&self, at: &Evaluation) -> Option<Fisher> {
        self.factors(at)
    }

    fn along(&self, at: &Evaluation, from: &[Tensor], delta: &[Tensor]) -> Option<Along> {
        self.segment(at, from, delta)
    }

    fn evaluate_data(&self, x: &Tensor) -> Evaluation {
        self.units().evaluate_rows(x)
    }

    fn log_z_exact(&self) -> Option<f64> {
        let (dv, dh) = self.dims();
        let (_, states) = exact::smaller(&self.units);
        let affordable = states <= 65_536.0 && states * dv.max(dh) as f64 <= 2_097_152.0;
        affordable.then(|| self.exact_log_z().ok()).flatten()
    }

    /// The states of the smaller layer.
    fn log_z_exact_cost(&self) -> u64 {
        exact::smaller(&self.units).1 as u64
    }

    fn options(&self) -> (Kind, Device) {
        (self.units.w.kind(), self.units.w.device())
    }
}

//! Lead from independent units to an RBM, straight or through parameters saved on the way: what AIS anneals along.

use super::base::Independent;
use super::{Bipartite, Rbm, Units};
use crate::density::{At, Base, Evaluation, Model, Path};
use crate::error::{Error, Result};
use tch::Tensor;

/// θ_t linear in t between stops: from the base (W = 0) through saved parameters to the model's.
///
/// Annealed importance sampling interpolates the base's biases with the model's parameters, which is this path without
/// stops. With the parameters saved along a training it follows that training instead.
#[derive(Debug)]
pub struct RbmPath {
    base: BaseBox,
    stops: Vec<Units>,
}

/// `dyn Base` has no `Debug` of its own.
struct BaseBox(Box<dyn Base>);

impl std::fmt::Debug for BaseBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("independent units")
    }
}

impl RbmPath {
    /// Straight from the model's base to the model.
    pub fn to(rbm: &Rbm) -> Result<Self> {
        Self::through(rbm, &[])
    }

    /// From inverse temperature 0 to 1 ([`Units::tempered`]): from the uniform law, for binary units, by scaling all parameters.
    pub fn scaled(rbm: &Rbm) -> Self {
        let (cold, hot) = (rbm.units().copy(), rbm.units().tempered(0.0));
        let base = Independent::new(hot.b.copy(), hot.dims().1, hot.log_var.as_ref().map(Tensor::copy), rbm.joint());
        RbmPath { base: BaseBox(Box::new(base)), stops: vec![hot, cold] }
    }

    /// Through `saved` parameters in their order, at equal distances in t. Errors: shapes that differ from the model's.
    pub fn through(rbm: &Rbm, saved: &[Units]) -> Result<Self> {
        if let Some(u) = saved.iter().find(|u| u.dims() != rbm.dims()) {
            let (dv, dh) = u.dims();
            let expected = format!("{:?}, as the model", rbm.dims());
            return Err(Error::Shape { name: "saved parameters", got: vec![dv, dh], expected });
        }
        let mut stops = vec![rbm.base_units()];
        stops.extend(saved.iter().map(Units::copy));
        stops.push(rbm.units().copy());
        Ok(RbmPath { base: BaseBox(rbm.base()?), stops })
    }

    /// The parameters at t.
    pub fn units(&self, t: f64) -> Units {
        let last = self.stops.len() - 1;
        let place = t.clamp(0.0, 1.0) * last as f64;
        let k = (place.floor() as usize).min(last - 1);
        self.stops[k].between(&self.stops[k + 1], place - k as f64)
    }
}

impl Path for RbmPath {
    fn base(&self) -> &dyn Base {
        self.base.0.as_ref()
    }

    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        self.evaluate(t, x).u
    }

    fn evaluate(&self, t: f64, x: &Tensor) -> Evaluation {
        crate::error::no_grad(|| self.units(t).point(x))
    }
}

impl Bipartite for At<'_, RbmPath> {
    fn units(&self) -> Units {
        self.path.units(self.t)
    }
}

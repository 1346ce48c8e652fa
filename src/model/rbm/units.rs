//! Give both layers' conditionals, energies and free energies of an RBM: one set of formulas for all kinds of visible units.

use super::binary::{draw, softplus_sum};
use super::{Bernoulli, Ising, Normal, Potts, Visible};
use crate::density::{Bipartite, Energy, Evaluation, Layer, Layers, bits, digits};
use crate::error::{Error, Result};
use crate::io::Checkpoint;
use crate::numeric::Rng;
use std::ops::Range;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// The parameters of an RBM as plain tensors, of one moment: what kernels and exact sums compute with.
///
/// Hidden units are binary; what the visible ones are, their [`Visible`] kind says. With u = v (v/σ for Gaussian units):
///
/// ```text
/// U(v, h) = E(v) − c·h − uᵀWh                          (40), (46)
/// a = c + uW        p(h_i = 1 | v) = σ(a_i)            (41), (70)
/// g of h            p(v | h) by the kind               (42), (46)
/// F(v) = E(v) − Σ_i log(1 + e^{a_i})
/// ```
///
/// Rows: v `[n, d_v]`, h `[n, d_h]`; energies and log-probabilities are `[n]` in f64.
#[derive(Debug)]
pub struct Units {
    /// W, `[d_v, d_h]`.
    pub w: Tensor,
    /// b, `[d_v]`.
    pub b: Tensor,
    /// c, `[d_h]`.
    pub c: Tensor,
    /// What the visible units are.
    pub visible: Box<dyn Visible>,
}

/// Σ over the last dimension, in f64.
pub(super) fn sum(t: &Tensor) -> Tensor {
    t.sum_dim_intlist(-1, false, Kind::Double)
}

/// Whether `t` is `[d]` with finite entries, as W requires.
pub(super) fn check_vector(name: &'static str, t: &Tensor, d: i64, w: &Tensor) -> Result<()> {
    if t.size() != [d] {
        return Err(Error::Shape { name, got: t.size(), expected: format!("[{d}], as w is {:?}", w.size()) });
    }
    check_finite(name, t)
}

fn check_finite(what: &'static str, t: &Tensor) -> Result<()> {
    match t.isfinite().all().int64_value(&[]) {
        0 => Err(Error::NonFinite { what, place: "among the parameters".into() }),
        _ => Ok(()),
    }
}

impl Units {
    /// W `[d_v, d_h]`, b `[d_v]`, c `[d_h]` with visible units of that kind, sharing the tensors.
    ///
    /// # Errors
    /// Shapes that do not fit, numbers that are not finite.
    pub fn new(w: &Tensor, b: &Tensor, c: &Tensor, visible: Box<dyn Visible>) -> Result<Self> {
        let size = w.size();
        let &[dv, dh] = size.as_slice() else {
            return Err(Error::Shape { name: "w", got: size, expected: "[visible units, hidden units]".into() });
        };
        check_finite("w", w)?;
        check_vector("b", b, dv, w)?;
        check_vector("c", c, dh, w)?;
        if let Some((name, own)) = visible.parameter() {
            check_vector(name, own, dv, w)?;
        }
        Ok(Units { w: w.shallow_clone(), b: b.shallow_clone(), c: c.shallow_clone(), visible })
    }

    /// Visible and hidden units.
    pub fn dims(&self) -> (i64, i64) {
        let size = self.w.size();
        (size[0], size[1])
    }

    /// The same numbers, sharing nothing.
    #[must_use]
    pub fn copy(&self) -> Units {
        self.each(|t| t.detach().copy())
    }

    /// The same in f64 on the CPU.
    #[must_use]
    pub fn wide(&self) -> Units {
        self.each(|t| t.detach().to_device(Device::Cpu).to_kind(Kind::Double))
    }

    /// The same in f64.
    pub(super) fn double(&self) -> Units {
        self.each(|t| t.detach().to_kind(Kind::Double))
    }

    /// The same memory without gradients.
    pub(super) fn detached(&self) -> Units {
        self.each(Tensor::detach)
    }

    pub(super) fn each(&self, f: impl Fn(&Tensor) -> Tensor) -> Units {
        let own = self.visible.parameter().map(|(_, t)| f(t));
        Units { w: f(&self.w), b: f(&self.b), c: f(&self.c), visible: self.visible.with_parameter(own) }
    }

    /// W = 0 and c = 0: independent units with these b.
    pub(super) fn independent(b: &Tensor, hidden: i64, visible: &dyn Visible) -> Units {
        let options = (b.kind(), b.device());
        let (w, c) = (Tensor::zeros([b.size()[0], hidden], options), Tensor::zeros([hidden], options));
        let own = visible.parameter().map(|(_, t)| t.detach().copy());
        Units { w, b: b.detach().copy(), c, visible: visible.with_parameter(own) }
    }

    /// Writes the parameters and the kind of visible units as safetensors.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut to = Checkpoint::default();
        for (name, t) in [("w", &self.w), ("b", &self.b), ("c", &self.c)].into_iter().chain(self.visible.parameter()) {
            to.put(name, t);
        }
        to.put_json("visible", &(self.visible.name(), self.visible.levels()))?;
        to.write(path)
    }

    /// Reads what [`write`](Units::write) wrote, on the CPU.
    ///
    /// # Errors
    /// No such file, or another one; visible units of a kind that is not in this crate.
    pub fn read(path: &Path) -> Result<Self> {
        let from = Checkpoint::read(path)?;
        let (name, levels): (String, Option<i64>) = from.json("visible")?;
        let visible: Box<dyn Visible> = match (name.as_str(), levels) {
            ("bernoulli", _) => Box::new(Bernoulli),
            ("ising", _) => Box::new(Ising),
            ("gaussian", _) => Box::new(Normal::new(from.get("log_var")?)),
            ("potts", Some(q)) => Box::new(Potts::new(q)?),
            _ => return Err(Error::data(path, format!("visible units {name:?}"), "a kind that this crate has")),
        };
        Units::new(&from.get("w")?, &from.get("b")?, &from.get("c")?, visible)
    }
}

impl Layers for Units {
    fn dims(&self) -> (i64, i64) {
        Units::dims(self)
    }

    fn hidden_input(&self, v: &Tensor) -> Tensor {
        self.c.addmm(&self.visible.coupled(v), &self.w)
    }

    fn visible_input(&self, h: &Tensor) -> Tensor {
        self.visible.input(self, h)
    }

    fn draw_hidden(&self, a: &Tensor, rng: &mut Rng) -> Tensor {
        draw(a, rng)
    }

    fn draw_visible(&self, h: &Tensor, rng: &mut Rng) -> Tensor {
        self.visible.draw(self, h, rng)
    }

    /// Σ h a − log(1 + e^a), (44).
    fn log_hidden(&self, h: &Tensor, a: &Tensor) -> Tensor {
        sum(&(a * h)) - softplus_sum(a)
    }

    fn log_visible(&self, v: &Tensor, g: &Tensor) -> Tensor {
        self.visible.log_density(v, g)
    }

    fn joint_energy(&self, v: &Tensor, h: &Tensor, a: &Tensor) -> Tensor {
        self.visible.energy(v, &self.b) - sum(&(a * h))
    }

    fn free_energy(&self, v: &Tensor, a: &Tensor) -> Tensor {
        self.visible.energy(v, &self.b) - softplus_sum(a)
    }

    /// βW, βb and βc for discrete units; for Gaussian ones βW and βc.
    fn tempered(&self, beta: f64) -> Units {
        let own = self.visible.parameter().map(|(_, t)| t.copy());
        Units {
            w: &self.w * beta,
            b: self.visible.tempered_bias(&self.b, beta),
            c: &self.c * beta,
            visible: self.visible.with_parameter(own),
        }
    }

    fn between(&self, other: &Units, t: f64) -> Units {
        let mix = |a: &Tensor, b: &Tensor| a * (1.0 - t) + b * t;
        let own = self.visible.parameter().zip(other.visible.parameter()).map(|((_, a), (_, b))| mix(a, b));
        Units {
            w: mix(&self.w, &other.w),
            b: mix(&self.b, &other.b),
            c: mix(&self.c, &other.c),
            visible: self.visible.with_parameter(own),
        }
    }

    fn share(&self) -> Units {
        self.each(Tensor::shallow_clone)
    }

    fn copy(&self) -> Units {
        Units::copy(self)
    }

    fn check_visible(&self, v: &Tensor) -> Result<()> {
        self.visible.check(v)
    }

    fn state_count(&self, layer: Layer) -> f64 {
        let (dv, dh) = self.dims();
        match (layer, self.visible.levels()) {
            (Layer::Hidden, _) => (dh as f64).exp2(),
            (Layer::Visible, Some(q)) => (q as f64).powf((dv / self.visible.columns()) as f64),
            (Layer::Visible, None) => f64::INFINITY,
        }
    }

    fn states(&self, layer: Layer, numbers: Range<i64>) -> Tensor {
        let (dv, dh) = self.dims();
        let (device, visible) = (self.w.device(), &self.visible);
        let states = match (layer, visible.levels()) {
            (Layer::Visible, Some(q)) => visible.encode(&digits(dv / visible.columns(), q, numbers, device)),
            _ => bits(dh, numbers, device),
        };
        states.to_kind(self.w.kind())
    }

    fn log_weights(&self, layer: Layer, states: &Tensor) -> Tensor {
        match layer {
            Layer::Hidden => states.mv(&self.c).to_kind(Kind::Double) + self.visible.log_sum(self, states),
            Layer::Visible => -self.free_energy(states, &self.hidden_input(states)),
        }
    }

    fn log_z_independent(&self) -> f64 {
        let visible = self.visible.log_sum(self, &self.hidden_zeros(1));
        visible.double_value(&[0]) + softplus_sum(&self.c.unsqueeze(0)).double_value(&[0])
    }

    fn hidden_zeros(&self, n: i64) -> Tensor {
        Tensor::zeros([n, self.dims().1], (self.w.kind(), self.w.device()))
    }
}

impl Energy for Units {
    /// F at rows v, U at rows (v | h), of these parameters as they are: for walkers along a recorded training.
    fn energy(&self, x: &Tensor) -> Tensor {
        self.evaluate_rows(x).u
    }

    fn evaluate(&self, x: &Tensor) -> Evaluation {
        self.evaluate_rows(x)
    }
}

impl Bipartite for Units {
    type Layers = Units;
    fn layers(&self) -> Units {
        self.share()
    }
}

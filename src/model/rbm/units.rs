//! Give both layers' conditional laws, energies and free energies of an RBM: one set of formulas for all kinds of units.

use super::Bipartite;
use super::binary::{draw, draw_shifted, softplus_sum};
use crate::density::{Energy, Evaluation};
use crate::error::Result;
use crate::io::Checkpoint;
use crate::numeric::Rng;
use tch::{Kind, Tensor};

/// The parameters of an RBM as plain tensors, of one moment: what kernels and exact sums compute with.
///
/// Visible units are binary, or Gaussian with variances σ_j²; hidden units are binary. With u_j = v_j, or v_j/σ_j:
///
/// ```text
/// a = c + uW                    p(h_i = 1 | v) = σ(a_i)                                 (41), (70)
/// g = b + Wh                    p(v_j = 1 | h) = σ(g_j)                                 (42)
/// m = b + σ(Wh)                 p(v_j | h) = N(m_j, σ_j²)      (48) prints b + Wh without σ: inconsistent with (46)
/// U(v, h) = −b·v − c·h − vᵀWh                or  Σ(v − b)²/2σ² − c·h − uᵀWh             (40), (46)
/// F(v) = −b·v − Σ_i log(1 + e^{a_i})         or  Σ(v − b)²/2σ² − Σ_i log(1 + e^{a_i})
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
    /// log σ², `[d_v]`; `None` for binary visible units.
    pub log_var: Option<Tensor>,
}

/// Σ over the last dimension, in f64.
fn sum(t: &Tensor) -> Tensor {
    t.sum_dim_intlist(-1, false, Kind::Double)
}

impl Units {
    /// Visible and hidden units.
    pub fn dims(&self) -> (i64, i64) {
        let size = self.w.size();
        (size[0], size[1])
    }

    /// σ, `[d_v]`.
    fn sigma(&self) -> Option<Tensor> {
        self.log_var.as_ref().map(|l| (l * 0.5).exp())
    }

    /// u = v, or v/σ.
    pub(crate) fn scaled(&self, v: &Tensor) -> Tensor {
        self.sigma().map_or_else(|| v.shallow_clone(), |s| v / s)
    }

    /// a = c + uW: the hidden units' inputs.
    pub fn hidden_input(&self, v: &Tensor) -> Tensor {
        self.c.addmm(&self.scaled(v), &self.w)
    }

    /// g = b + Wh, or the mean m = b + σ(Wh) of Gaussian units.
    pub fn visible_input(&self, h: &Tensor) -> Tensor {
        match self.sigma() {
            None => self.b.addmm(h, &self.w.tr()),
            Some(sigma) => h.matmul(&self.w.tr()) * sigma + &self.b,
        }
    }

    /// h ~ p(h | v) from its input a.
    pub fn draw_hidden(&self, a: &Tensor, rng: &mut Rng) -> Tensor {
        draw(a, rng)
    }

    /// v ~ p(v | h).
    pub fn draw_visible(&self, h: &Tensor, rng: &mut Rng) -> Tensor {
        match self.sigma() {
            // the bias is added where the draw passes over the product anyway
            None => draw_shifted(h.matmul(&self.w.tr()), &self.b, rng),
            Some(sigma) => {
                let m = self.visible_input(h);
                let noise = rng.normal(&m.size(), m.kind(), m.device());
                m + noise * sigma
            }
        }
    }

    /// −b·v, or Σ(v − b)²/2σ²: the energy of the visible units alone.
    fn visible_energy(&self, v: &Tensor) -> Tensor {
        match &self.log_var {
            None => -v.mv(&self.b).to_kind(Kind::Double),
            Some(log_var) => sum(&((v - &self.b).square() * (-log_var).exp())) * 0.5,
        }
    }

    /// U(v, h), with a of v.
    pub fn energy(&self, v: &Tensor, h: &Tensor, a: &Tensor) -> Tensor {
        self.visible_energy(v) - sum(&(a * h))
    }

    /// F(v) = −log Σ_h e^{−U(v, h)}, with a of v.
    pub fn free_energy(&self, v: &Tensor, a: &Tensor) -> Tensor {
        self.visible_energy(v) - softplus_sum(a)
    }

    /// log p(h | v) = Σ h a − log(1 + e^a), (44).
    pub fn log_hidden(&self, h: &Tensor, a: &Tensor) -> Tensor {
        sum(&(a * h)) - softplus_sum(a)
    }

    /// log p(v | h), (45), or the Gaussian's with its normaliser; g of h.
    pub fn log_visible(&self, v: &Tensor, g: &Tensor) -> Tensor {
        match &self.log_var {
            None => sum(&(g * v)) - softplus_sum(g),
            Some(log_var) => {
                let norm = (log_var + (2.0 * std::f64::consts::PI).ln()).sum(Kind::Double) * 0.5;
                sum(&((v - g).square() * (-log_var).exp())) * -0.5 - norm
            }
        }
    }

    /// (1 − t) of these and t of others: W, b, c and log σ² each.
    pub fn between(&self, other: &Units, t: f64) -> Units {
        let mix = |a: &Tensor, b: &Tensor| a * (1.0 - t) + b * t;
        Units {
            w: mix(&self.w, &other.w),
            b: mix(&self.b, &other.b),
            c: mix(&self.c, &other.c),
            log_var: self.log_var.as_ref().zip(other.log_var.as_ref()).map(|(a, b)| mix(a, b)),
        }
    }

    /// At inverse temperature β: βW, βb and βc for binary units; for Gaussian ones βW and βc, so that at β = 0 v keeps its
    /// mean and variance. Units are independent at β = 0.
    pub fn tempered(&self, beta: f64) -> Units {
        let b = if self.log_var.is_some() { self.b.copy() } else { &self.b * beta };
        Units { w: &self.w * beta, b, c: &self.c * beta, log_var: self.log_var.as_ref().map(Tensor::copy) }
    }

    /// The same numbers, sharing nothing.
    pub fn copy(&self) -> Units {
        let copy = |t: &Tensor| t.detach().copy();
        Units { w: copy(&self.w), b: copy(&self.b), c: copy(&self.c), log_var: self.log_var.as_ref().map(copy) }
    }

    /// Writes the parameters as safetensors. Errors: a file that cannot be written.
    pub fn write(&self, path: &std::path::Path) -> Result<()> {
        let mut to = Checkpoint::default();
        for (name, t) in
            [("w", Some(&self.w)), ("b", Some(&self.b)), ("c", Some(&self.c)), ("log_var", self.log_var.as_ref())]
        {
            if let Some(t) = t {
                to.put(name, t);
            }
        }
        to.write(path)
    }

    /// Reads what [`write`](Units::write) wrote, on the CPU. Errors: no such file, or another one.
    pub fn read(path: &std::path::Path) -> Result<Self> {
        let from = Checkpoint::read(path)?;
        Ok(Units { w: from.get("w")?, b: from.get("b")?, c: from.get("c")?, log_var: from.find("log_var") })
    }

    /// The same in f64 on the CPU.
    pub fn wide(&self) -> Units {
        self.each(|t| t.detach().to_device(tch::Device::Cpu).to_kind(Kind::Double))
    }

    /// The same in f64.
    pub(super) fn double(&self) -> Units {
        self.each(|t| t.detach().to_kind(Kind::Double))
    }

    fn each(&self, f: impl Fn(&Tensor) -> Tensor) -> Units {
        Units { w: f(&self.w), b: f(&self.b), c: f(&self.c), log_var: self.log_var.as_ref().map(f) }
    }
}

impl Energy for Units {
    /// F at rows v, U at rows (v | h), of these parameters as they are: for walkers along a recorded training.
    fn energy(&self, x: &Tensor) -> Tensor {
        self.point(x).u
    }

    fn evaluate(&self, x: &Tensor) -> Evaluation {
        self.point(x)
    }
}

impl Bipartite for Units {
    fn units(&self) -> Units {
        let share = |t: &Tensor| t.shallow_clone();
        Units { w: share(&self.w), b: share(&self.b), c: share(&self.c), log_var: self.log_var.as_ref().map(share) }
    }
}

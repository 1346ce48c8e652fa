//! Give lattice φ⁴ theory in two dimensions, and the free field as its exactly sampled start.

use super::{at_least, finite, positive};
use crate::density::{Differentiable, Energy, Evaluation, floats};
use crate::error::{Error, Result};
use crate::model::Gaussian;
use std::f64::consts::PI;
use tch::{Kind, Tensor};

/// The action of a real field on a periodic L × L lattice, row x the L² values site by site:
///
/// ```text
/// S(φ) = Σ_x [ Σ_μ (φ_{x+μ} − φ_x)² + m² φ_x² + λ φ_x⁴ ]        μ over the 2 directions
/// ```
///
/// the convention of Albergo, Kanwar, Shanahan 2019 (arXiv 1904.12072), without factors ½ and 1/4!. For m² < 0 and λ small the
/// magnetisation Σφ/L² has two signs that local moves do not connect (ordered phase); for λ large it is around 0. With L = 6 and
/// m² = −4 the publication has λ = 6.975 (disordered, near the transition).
///
/// At λ = 0 and m² > 0 it is the [`free_field`](Phi4::free_field) and log Z = (L²/2) log π − ½ Σ_k log(m² + Σ_μ (2 − 2 cos k_μ)).
/// Otherwise log Z is not known in closed form; ⟨φ⟩ = 0 by symmetry.
///
/// ```
/// use jarzynski::model::targets::Phi4;
/// use jarzynski::{Geometric, Mala, Reversed, Transport};
/// # fn main() -> jarzynski::Result<()> {
/// let target = Phi4::new(4, -1.0, 1.0)?;
/// let path = Geometric { base: target.free_field(1.0)?, target };
/// let run = Transport::new(Reversed::new(Mala::new(0.05)), 20, 300, 0).quiet().run(&path)?;
/// let magnetisation = run.walkers.x().mean_dim(1, false, None);
/// assert!(run.walkers.mean(&magnetisation)?.value.abs() < 0.3);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Phi4 {
    side: i64,
    mass2: f64,
    coupling: f64,
}

/// Sites of the largest lattice: the free field holds a matrix of their number squared.
pub(super) const SITES: i64 = 4_096;

impl Phi4 {
    /// Side L, m² and λ ≥ 0.
    ///
    /// # Errors
    /// L below 1 or above 64, numbers that are not finite, λ negative, m² ≤ 0 at λ = 0 (no density).
    pub fn new(side: i64, mass2: f64, coupling: f64) -> Result<Self> {
        if at_least("side", side, 1)? * side > SITES {
            return Err(Error::param("side", side, "at most 64 sites in each direction"));
        }
        if finite("coupling", coupling)? < 0.0 {
            return Err(Error::param("coupling", coupling, "λ ≥ 0: otherwise the action is not bounded below"));
        }
        if finite("mass2", mass2)? <= 0.0 && coupling == 0.0 {
            return Err(Error::param("mass2", mass2, "m² > 0 where λ = 0: otherwise e^{−S} has no integral"));
        }
        Ok(Phi4 { side, mass2, coupling })
    }

    /// Dimension L².
    pub fn dim(&self) -> i64 {
        self.side * self.side
    }

    /// m² + Σ_μ (2 − 2 cos k_μ) at k = 2π(a, b)/L: eigenvalues of the quadratic part.
    fn eigenvalue(&self, mass2: f64, a: i64, b: i64) -> f64 {
        let one = |a: i64| 2.0 - 2.0 * (2.0 * PI * a as f64 / self.side as f64).cos();
        mass2 + one(a) + one(b)
    }

    /// The action at λ = 0 with another squared mass M² > 0 as a Gaussian, exactly sampled: the start of an annealing.
    ///
    /// # Errors
    /// M² not positive, or so small that the covariance is singular in f64.
    pub fn free_field(&self, mass2: f64) -> Result<Gaussian> {
        let mass2 = positive("mass2", mass2)?;
        let (l, d) = (self.side, self.dim());
        // C(x − y) = (1/L²) Σ_k cos(k·(x − y)) / 2λ_k, one number for each displacement
        let phase: Vec<f64> = (0..l).map(|a| 2.0 * PI * a as f64 / l as f64).collect();
        let displaced: Vec<f64> = (0..d)
            .map(|at| {
                let (r, c) = (at / l, at % l);
                let mode = |k: i64| {
                    let (a, b) = (k / l, k % l);
                    let angle = phase[((a * r) % l) as usize] + phase[((b * c) % l) as usize];
                    angle.cos() / (2.0 * self.eigenvalue(mass2, a, b))
                };
                (0..d).map(mode).sum::<f64>() / d as f64
            })
            .collect();
        // cos is even, but its rounding need not be: take each pair of displacements once
        let of = |x: i64, y: i64| {
            let (x, y) = (x.min(y), x.max(y));
            let (r, c) = ((y / l - x / l).rem_euclid(l), (y % l - x % l).rem_euclid(l));
            displaced[(r * l + c) as usize]
        };
        let covariance: Vec<f64> = (0..d * d).map(|i| of(i / d, i % d)).collect();
        let mean = Tensor::zeros([d], (Kind::Double, tch::Device::Cpu));
        Gaussian::with_covariance(&mean, &Tensor::from_slice(&covariance).view([d, d]))
    }

    /// log ∫ e^{−S}, nats, where it is known: at λ = 0.
    pub fn log_z_exact(&self) -> Option<f64> {
        let modes = (0..self.dim()).map(|k| self.eigenvalue(self.mass2, k / self.side, k % self.side).ln());
        (self.coupling == 0.0).then(|| 0.5 * (self.dim() as f64 * PI.ln() - modes.sum::<f64>()))
    }

    /// The field `[n, L, L]`, the differences to the next site in each direction, and φ².
    fn parts(&self, x: &Tensor) -> (Tensor, [Tensor; 2], Tensor) {
        let field = floats(x, self.dim(), Kind::Double).view([-1, self.side, self.side]);
        let ahead = [1, 2].map(|axis| field.roll([-1], [axis]) - &field);
        let square = field.square();
        (field, ahead, square)
    }

    fn of_parts(&self, ahead: &[Tensor; 2], square: &Tensor) -> Tensor {
        let local = square * (square * self.coupling + self.mass2);
        (local + ahead[0].square() + ahead[1].square()).sum_dim_intlist([1i64, 2].as_slice(), false, None::<Kind>)
    }
}

impl Differentiable for Phi4 {}

impl Energy for Phi4 {
    fn energy(&self, x: &Tensor) -> Tensor {
        let (_, ahead, square) = self.parts(x);
        self.of_parts(&ahead, &square)
    }

    fn evaluate(&self, x: &Tensor) -> Evaluation {
        crate::error::no_grad(|| {
            let (field, ahead, square) = self.parts(x);
            let mut grad = field * (&square * (4.0 * self.coupling) + 2.0 * self.mass2);
            for (axis, ahead) in (1..).zip(&ahead) {
                grad += (ahead.roll([1], [axis]) - ahead) * 2.0;
            }
            Evaluation::new(x.shallow_clone(), self.of_parts(&ahead, &square), grad.view([-1, self.dim()]))
        })
    }
}

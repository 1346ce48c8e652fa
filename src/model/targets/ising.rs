//! Give the Ising model on a square lattice, with the log Z of its transfer matrix, and fair spins as its start.

use super::{at_least, finite};
use crate::density::{Base, Energy, Evaluation, floats};
use crate::error::{Error, Result};
use crate::numeric::Rng;
use tch::{Device, Kind, Tensor};

/// U(s) = −J Σ_{⟨ij⟩} s_i s_j on a periodic L × L lattice without a field, s = ±1, J in units of k_B T; each site has a bond to the right and
/// one below, so that for L = 2 bonds count twice. J = ½ log(1 + √2) ≈ .4407 is critical.
///
/// log Z of the finite lattice is that of Kaufman 1949 ([`log_z_exact`](Ising::log_z_exact)). Moves by
/// [`GibbsWithGradients`](crate::kernel::GibbsWithGradients); it is not `Differentiable`, since its states are discrete.
///
/// ```
/// use jarzynski::model::targets::Ising;
/// let free = Ising::new(4, 0.0).unwrap();
/// assert!((free.log_z_exact() - 16.0 * 2f64.ln()).abs() < 1e-12);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ising {
    side: i64,
    coupling: f64,
}

impl Ising {
    /// Side L and coupling J.
    ///
    /// # Errors
    /// L below 2, J not finite, J < 0 (which [`log_z_exact`](Ising::log_z_exact) does not know for odd L).
    pub fn new(side: i64, coupling: f64) -> Result<Self> {
        if finite("coupling", coupling)? < 0.0 {
            return Err(Error::param("coupling", coupling, "J ≥ 0: a ferromagnet"));
        }
        Ok(Ising { side: at_least("side", side, 2)?, coupling })
    }

    /// Dimension L².
    pub fn dim(&self) -> i64 {
        self.side * self.side
    }

    /// log Σ_s e^{−U}, nats, by Kaufman's four products over the modes of the transfer matrix.
    pub fn log_z_exact(&self) -> f64 {
        let (l, n, j) = (self.side, self.side as f64, self.coupling);
        if j == 0.0 {
            return n * n * std::f64::consts::LN_2;
        }
        let gamma = |k: i64| {
            if k == 0 {
                return 2.0 * j + j.tanh().ln();
            }
            let c = (2.0 * j).cosh() * (1.0 / (2.0 * j).tanh()) - (std::f64::consts::PI * k as f64 / n).cos();
            c.acosh()
        };
        // log of Π 2 cosh(nγ/2) and of Π 2 sinh(nγ/2), with the sign of the latter
        let product = |odd: i64, sign: f64| {
            (0..l).fold((0.0, 1.0), |(log, of), k| {
                let half = 0.5 * n * gamma(2 * k + odd);
                let term = 1.0 + sign * (-2.0 * half.abs()).exp();
                let flip = if sign < 0.0 && half < 0.0 { -1.0 } else { 1.0 };
                (log + half.abs() + term.ln(), of * flip)
            })
        };
        let terms = [product(1, 1.0), product(1, -1.0), product(0, 1.0), product(0, -1.0)];
        let most = terms.iter().fold(f64::NEG_INFINITY, |most, t| most.max(t.0));
        let sum: f64 = terms.iter().map(|(log, sign)| sign * (log - most).exp()).sum();
        -std::f64::consts::LN_2 + 0.5 * n * n * (2.0 * (2.0 * j).sinh()).ln() + most + sum.ln()
    }

    /// Σ of the neighbours of each site, `[n, L²]`.
    fn around(&self, x: &Tensor) -> Tensor {
        let field = x.view([-1, self.side, self.side]);
        let sum = [(1, 1), (-1, 1), (1, 2), (-1, 2)].map(|(shift, axis)| field.roll([shift], [axis]));
        let [a, b, c, d] = sum;
        (a + b + c + d).view([-1, self.dim()])
    }
}

impl Energy for Ising {
    fn energy(&self, x: &Tensor) -> Tensor {
        let x = floats(x, self.dim(), Kind::Double);
        (&x * self.around(&x)).sum_dim_intlist(-1, false, None::<Kind>) * (-0.5 * self.coupling)
    }

    fn evaluate(&self, x: &Tensor) -> Evaluation {
        crate::error::no_grad(|| {
            let rows = floats(x, self.dim(), Kind::Double);
            let around = self.around(&rows);
            let u = (&rows * &around).sum_dim_intlist(-1, false, None::<Kind>) * (-0.5 * self.coupling);
            Evaluation::new(x.shallow_clone(), u, around * -self.coupling)
        })
    }
}

/// d independent spins ±1, each with probability ½: U = 0 and log Z = d log 2.
///
/// ```
/// use jarzynski::{Base, model::targets::FairSpins};
/// assert_eq!(FairSpins::new(3).unwrap().log_z(), 3.0 * 2f64.ln());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FairSpins {
    d: i64,
}

impl FairSpins {
    /// In d dimensions, at least 1.
    ///
    /// # Errors
    /// d below 1.
    pub fn new(d: i64) -> Result<Self> {
        Ok(FairSpins { d: at_least("d", d, 1)? })
    }
}

impl Energy for FairSpins {
    fn energy(&self, x: &Tensor) -> Tensor {
        // of every x, so that autograd finds a way to it
        floats(x, self.d, Kind::Double).sum_dim_intlist(-1, false, None::<Kind>) * 0.0
    }
}

impl Base for FairSpins {
    fn sample(&self, n: usize, rng: &mut Rng) -> Tensor {
        let heads = rng.uniform_tensor(&[n as i64, self.d], Kind::Double, Device::Cpu).lt(0.5);
        heads.to_kind(Kind::Double) * 2.0 - 1.0
    }

    fn log_z(&self) -> f64 {
        self.d as f64 * std::f64::consts::LN_2
    }
}

//! Give the log-Gaussian Cox process on a grid: counts of points whose log-intensity is a Gaussian field.

use super::{finite, lattice::SITES, positive};
use crate::density::{Differentiable, Energy, Evaluation, Whiten, Whitening, floats, rows_as};
use crate::error::{Error, Result, no_grad};
use crate::model::Gaussian;
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// The Gaussian field of a [`CoxProcess`]: mean μ and covariance σ² exp(−|i − j|/(Mβ)) between pixels i and j of an M × M grid, their
/// distance in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CoxField {
    /// μ.
    pub mean: f64,
    /// σ².
    pub variance: f64,
    /// β, in sides of the grid.
    pub range: f64,
}

impl CoxField {
    /// σ² = 1.91, β = 1/33 and μ = log n − σ²/2 for n points on the unit square: Møller, Syversveen, Waagepetersen 1998, who have
    /// n = 126 pines.
    pub fn of_points(points: f64) -> Self {
        let variance = 1.91;
        CoxField { mean: points.ln() - 0.5 * variance, variance, range: 1.0 / 33.0 }
    }

    /// Its distribution on a grid of side M.
    ///
    /// # Errors
    /// σ² or β not positive, μ not finite, M below 1 or above 64, a covariance that is singular in f64.
    pub fn on_grid(&self, side: i64) -> Result<Gaussian> {
        let (mean, variance) = (finite("mean", self.mean)?, positive("variance", self.variance)?);
        let range = positive("range", self.range)? * side as f64;
        if side < 1 || side * side > SITES {
            return Err(Error::param("side", side, "1 to 64 pixels"));
        }
        let d = side * side;
        let between = |i: i64, j: i64| {
            let (rows, columns) = ((i / side - j / side) as f64, (i % side - j % side) as f64);
            variance * (-rows.hypot(columns) / range).exp()
        };
        let covariance: Vec<f64> = (0..d * d).map(|k| between(k / d, k % d)).collect();
        let mean = Tensor::full([d], mean, (Kind::Double, Device::Cpu));
        Gaussian::with_covariance(&mean, &Tensor::from_slice(&covariance).view([d, d]))
    }
}

/// Counts y_i ~ Poisson(a e^{x_i}) in pixels of area a, x the Gaussian field:
///
/// ```text
/// U(x) = Σ_i (a e^{x_i} − y_i x_i) − log N(x; μ, K)        log Z = log ∫ Π_i e^{y_i x_i − a e^{x_i}} N(x; μ, K) dx
/// ```
///
/// Factors of the likelihood that do not depend on x, a^{y_i}/y_i!, are left out, as in the tables for the 126 Finnish pines with
/// M = 40. There a is 1/M², a pixel's share of the unit square; **other values of a circulate, and log Z differs**, so that a is an
/// argument and belongs beside every number. The pines themselves are not part of this library: give their counts, or
/// [`simulate`](CoxProcess::simulate) some. Computed on the CPU.
///
/// log Z has no closed form. The start is the [`prior`](CoxProcess::prior), in whose coordinates kernels move inside
/// [`Whitened`](crate::kernel::Whitened).
///
/// ```
/// use jarzynski::kernel::{Hmc, Whitened};
/// use jarzynski::model::targets::{CoxField, CoxProcess};
/// use jarzynski::{Geometric, Reversed, Rng, Transport};
/// # fn main() -> jarzynski::Result<()> {
/// let (side, field) = (5, CoxField::of_points(126.0));
/// let counts = CoxProcess::simulate(field, side, 1.0 / 25.0, &mut Rng::new(0))?;
/// let target = CoxProcess::new(&counts, field, 1.0 / 25.0)?;
/// let path = Geometric { base: target.prior()?, target };
/// let run = Transport::new(Whitened::new(Reversed::new(Hmc::new(0.2, 3))), 60, 200, 0).quiet().run(&path)?;
/// println!("log Z = {}", run.walkers.log_z());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct CoxProcess {
    /// `[M²]`, f64.
    counts: Tensor,
    field: CoxField,
    area: f64,
    prior: Gaussian,
}

impl CoxProcess {
    /// Counts `[M, M]` (integers or floats), the field, and the area a of a pixel.
    ///
    /// # Errors
    /// Counts that are not square, not finite, negative or not whole; an area that is not positive; as [`CoxField::on_grid`].
    pub fn new(counts: &Tensor, field: CoxField, area: f64) -> Result<Self> {
        let side = if counts.defined() { counts.size().first().copied().unwrap_or(0) } else { 0 };
        let counts = rows_as("counts", counts, side, (Kind::Double, Device::Cpu))?.contiguous().view(-1);
        let whole = counts.ge(0.0).logical_and(&counts.eq_tensor(&counts.floor()));
        let bad = whole.logical_not().nonzero();
        if bad.size()[0] > 0 {
            let pixel = bad.int64_value(&[0, 0]);
            let value = format!("{} in pixel {pixel}", counts.double_value(&[pixel]));
            return Err(Error::param("counts", value, "whole numbers ≥ 0"));
        }
        Ok(CoxProcess { counts, field, area: positive("area", area)?, prior: field.on_grid(side)? })
    }

    /// Counts `[M, M]` drawn from the process itself.
    ///
    /// # Errors
    /// As [`new`](CoxProcess::new).
    pub fn simulate(field: CoxField, side: i64, area: f64, rng: &mut Rng) -> Result<Tensor> {
        use crate::density::Base;
        let area = positive("area", area)?;
        let rates = Vec::<f64>::try_from(field.on_grid(side)?.sample(1, rng).view(-1))?;
        // points of a unit process along the line, until they pass the rate
        let count = |rate: f64| {
            let (mut place, mut points) = (0.0, -1.0);
            while place <= rate {
                place -= (1.0 - rng.uniform()).ln();
                points += 1.0;
            }
            points
        };
        let counts: Vec<f64> = rates.iter().map(|x| area * x.exp()).map(count).collect();
        Ok(Tensor::from_slice(&counts).view([side, side]))
    }

    /// Dimension M².
    pub fn dim(&self) -> i64 {
        self.counts.size()[0]
    }

    /// The field before the counts are known.
    ///
    /// # Errors
    /// None at present; that of [`CoxField::on_grid`].
    pub fn prior(&self) -> Result<Gaussian> {
        self.prior.on(Kind::Double, Device::Cpu)
    }

    /// The field.
    pub fn field(&self) -> CoxField {
        self.field
    }

    /// a e^x `[n, M²]`, and Σ a e^x − y·x − log of the prior's normaliser `[n]`.
    fn of_counts(&self, x: &Tensor) -> (Tensor, Tensor) {
        use crate::density::Base;
        let rate = x.exp() * self.area;
        let counts = self.counts.to_kind(x.kind());
        let u = (&rate - x * counts).sum_dim_intlist(-1, false, None::<Kind>) + self.prior.log_z();
        (rate, u)
    }
}

impl Differentiable for CoxProcess {}

impl Energy for CoxProcess {
    fn energy(&self, x: &Tensor) -> Tensor {
        let x = floats(x, self.dim(), Kind::Double);
        self.of_counts(&x).1 + self.prior.energy(&x.to_kind(Kind::Double)).to_kind(x.kind())
    }

    fn evaluate(&self, x: &Tensor) -> Evaluation {
        no_grad(|| {
            let rows = floats(x, self.dim(), Kind::Double);
            let (before, (rate, u)) = (self.prior.evaluate(&rows.to_kind(Kind::Double)), self.of_counts(&rows));
            let kind = rows.kind();
            let grad = before.grad().to_kind(kind) + rate - self.counts.to_kind(kind);
            Evaluation::new(x.shallow_clone(), u + before.u.to_kind(kind), grad)
        })
    }
}

/// Those of the prior.
impl Whiten for CoxProcess {
    fn whitening(&self) -> &Whitening {
        self.prior.whitening()
    }
}

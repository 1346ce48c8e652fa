//! Give the Gaussian, diagonal or with all covariances: an exactly sampled start of neural energies, fitted to data if wanted.

use crate::density::{Base, Differentiable, Energy, Evaluation, Whiten, Whitening, floats, kind_for, rows_as};
use crate::error::{Error, Result, guard, no_grad};
use crate::io::Checkpoint;
use crate::numeric::Rng;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// U(x) = |L⁻¹(x − m)|²/2, log Z = log det L + (d/2) log 2π, for the covariance LLᵀ.
#[derive(Debug)]
pub struct Gaussian {
    map: Whitening,
}

/// Least share of a column's own variance that [`Gaussian::fit`] takes for its noise, where there is noise at all: below it, the
/// sum of both would be rounded to the data's covariance.
const FLOOR: f64 = 1e-10;

/// Least variance of a column given those before it, as a share of its own and for each column: what is below is rounding.
const SINGULAR: f64 = 1e-13;

impl Gaussian {
    /// Means and standard deviations, one per coordinate, in f64 on the CPU.
    ///
    /// # Errors
    /// No coordinates, unequal lengths, a σ that is not positive.
    pub fn new(mean: &[f64], sigma: &[f64]) -> Result<Self> {
        if mean.is_empty() || mean.len() != sigma.len() {
            return Err(Error::Shape {
                name: "sigma",
                got: vec![sigma.len() as i64],
                expected: format!("one σ for each of {} means, at least one", mean.len()),
            });
        }
        if let Some(s) = sigma.iter().find(|s| !(**s > 0.0 && s.is_finite())) {
            return Err(Error::param("sigma", s, "a positive, finite standard deviation"));
        }
        if let Some(m) = mean.iter().find(|m| !m.is_finite()) {
            return Err(Error::param("mean", m, "a finite number"));
        }
        Ok(Gaussian { map: Whitening::diagonal(Tensor::from_slice(mean), Tensor::from_slice(sigma)) })
    }

    /// N(0, σ² I) in d dimensions, of a given kind and device.
    ///
    /// # Errors
    /// As [`new`](Gaussian::new).
    pub fn isotropic(d: i64, sigma: f64, kind: Kind, device: Device) -> Result<Self> {
        Self::new(&vec![0.0; d.max(0) as usize], &vec![sigma; d.max(0) as usize])?.on(kind, device)
    }

    /// The data's mean and full covariance, (1/n) Σ (x − m)(x − m)ᵀ + noise² I: the Gaussian of lowest cross-entropy for rows of
    /// `data` `[n, d]` with fresh noise of that standard deviation. In f64 on the CPU, whatever the data are.
    ///
    /// Where the noise is above 0 and below 10⁻⁵ of a column's own standard deviation, that column's noise counts as 10⁻⁵ of it.
    ///
    /// ```
    /// use jarzynski::{Base, data, model::Gaussian};
    /// # fn main() -> jarzynski::Result<()> {
    /// let digits = data::digits()?.scale(-1.0, 1.0)?;
    /// let (train, test) = digits.split(0.8, 0)?;
    /// let fit = Gaussian::fit(&train.x, 0.3)?;            // 64 pixels, some of which never change
    /// let cross_entropy = -fit.log_prob(&test.x)?.mean(jarzynski::tch::Kind::Double).double_value(&[]);
    /// assert!(cross_entropy < 64.0 * 0.9 && fit.log_z().is_finite());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Data that are not `[n, d]` or not finite; a negative noise; noise 0 where the covariance is singular: a column that is
    /// constant, or a linear combination of others, as always for n ≤ d.
    pub fn fit(data: &Tensor, noise: f64) -> Result<Self> {
        if !(noise >= 0.0 && noise.is_finite()) {
            return Err(Error::param("noise", noise, "a finite standard deviation ≥ 0"));
        }
        let d = if data.defined() { data.size().get(1).copied().unwrap_or(0) } else { 0 };
        let data = rows_as("data", data, d, (kind_for(data), data.device()))?;
        let (mean, mut covariance) = guard(|| no_grad(|| Ok(moments(&data))))?;
        if noise > 0.0 {
            let own = covariance.diagonal(0, 0, 1);
            covariance += (own * FLOOR).clamp_min(noise * noise).diag(0);
        }
        let said = |column: i64| {
            let expected = format!(
                "above 0: column {column} of the data is constant, or a linear combination of those before it, so that their \
                 covariance is singular"
            );
            Error::param("noise", noise, expected)
        };
        Self::factored(mean, &covariance)?.map_err(said)
    }

    /// Mean `[d]` and covariance `[d, d]`, in f64 on the CPU.
    ///
    /// # Errors
    /// Other shapes, numbers that are not finite, a matrix that is not symmetric or not positive definite.
    pub fn with_covariance(mean: &Tensor, covariance: &Tensor) -> Result<Self> {
        let d = if mean.dim() == 1 { mean.size()[0] } else { 0 };
        let mean = rows_as("mean", &mean.view([1, -1]), d, (Kind::Double, Device::Cpu))?.view(-1);
        let covariance = rows_as("covariance", covariance, d, (Kind::Double, Device::Cpu))?;
        if covariance.size()[0] != d {
            return Err(Error::Shape { name: "covariance", got: covariance.size(), expected: format!("[{d}, {d}]") });
        }
        let off = (&covariance - covariance.tr()).abs().max().double_value(&[]);
        if off > 1e-9 * covariance.abs().max().double_value(&[]) {
            return Err(Error::param("covariance", format!("off by {off} from its transpose"), "a symmetric matrix"));
        }
        Self::factored(mean, &covariance)?.map_err(|column| {
            Error::param("covariance", format!("singular at column {column}"), "a positive definite matrix")
        })
    }

    /// By Cholesky's factor of the correlations, so that each column counts on its own scale; else the first column that leaves
    /// no variance.
    fn factored(mean: Tensor, covariance: &Tensor) -> Result<std::result::Result<Self, i64>> {
        guard(|| {
            no_grad(|| {
                let first = |bad: &Tensor| {
                    let bad = bad.nonzero();
                    (bad.size()[0] > 0).then(|| bad.int64_value(&[0, 0]))
                };
                if !bool::try_from(covariance.isfinite().all())? {
                    return Err(Error::NonFinite { what: "covariance", place: "in f64: scale the data".into() });
                }
                let deviation = covariance.diagonal(0, 0, 1).sqrt();
                if let Some(column) = first(&deviation.gt(0.0).logical_not()) {
                    return Ok(Err(column));
                }
                let correlation = covariance / deviation.unsqueeze(1) / deviation.unsqueeze(0);
                let (l, info) = Tensor::linalg_cholesky_ex(&correlation, false, false);
                let info = info.int64_value(&[]);
                if info > 0 {
                    return Ok(Err(info - 1));
                }
                let left = l.diagonal(0, 0, 1).square();
                if let Some(column) = first(&left.lt(SINGULAR * l.size()[0] as f64)) {
                    return Ok(Err(column));
                }
                Ok(Ok(Gaussian { map: Whitening::lower(mean, l * deviation.unsqueeze(1)) }))
            })
        })
    }

    /// The same distribution in another kind, on another device.
    ///
    /// # Errors
    /// A kind other than `Float` or `Double`.
    pub fn on(&self, kind: Kind, device: Device) -> Result<Self> {
        Ok(Gaussian { map: self.map.on(kind, device)? })
    }

    /// From the map in whose coordinates it is N(0, I).
    pub(crate) fn whitened_by(map: Whitening) -> Self {
        Gaussian { map }
    }

    /// Dimension d.
    pub fn dim(&self) -> i64 {
        self.map.dim()
    }

    /// log ρ(x) of rows x `[m, d]`, normalised: `[m]`, f64, nats.
    ///
    /// # Errors
    /// x of the wrong width or not finite.
    pub fn log_prob(&self, x: &Tensor) -> Result<Tensor> {
        let mean = self.map.mean();
        let x = rows_as("x", x, self.dim(), (mean.kind(), mean.device()))?;
        guard(|| Ok(-no_grad(|| self.energy(&x)).to_kind(Kind::Double) - self.log_z()))
    }

    /// Writes mean and covariance as safetensors, completely or not at all.
    ///
    /// # Errors
    /// `Io` with the path.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut file = Checkpoint::default();
        self.map.tensors().iter().for_each(|(name, t)| file.put(*name, t));
        file.write(path.as_ref())
    }

    /// What [`save`](Gaussian::save) wrote; also the start of a net, from the file that the net was saved in.
    ///
    /// # Errors
    /// `Io` where there is no file; another error where it holds no Gaussian.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Gaussian { map: guard(|| Whitening::load(&Checkpoint::read(path.as_ref())?))? })
    }
}

/// Mean and covariance of rows, in f64 on the CPU, a few rows at a time.
fn moments(data: &Tensor) -> (Tensor, Tensor) {
    let n = data.size()[0] as f64;
    let blocks = || data.split(4_096, 0).into_iter().map(|rows| rows.to_device(Device::Cpu).to_kind(Kind::Double));
    let none = |size: &[i64]| Tensor::zeros(size, (Kind::Double, Device::Cpu));
    let d = data.size()[1];
    let sum = blocks().fold(none(&[d]), |sum, rows| sum + rows.sum_dim_intlist(0, false, Kind::Double));
    let mean = sum / n;
    let square = |rows: Tensor| {
        let away = rows - &mean;
        away.tr().matmul(&away)
    };
    let covariance = blocks().fold(none(&[d, d]), |sum, rows| sum + square(rows)) / n;
    (mean, covariance)
}

impl Differentiable for Gaussian {}

impl Whiten for Gaussian {
    fn whitening(&self) -> &Whitening {
        &self.map
    }
}

impl Energy for Gaussian {
    fn energy(&self, x: &Tensor) -> Tensor {
        let x = &floats(x, self.dim(), self.map.mean().kind());
        self.map.whiten(x).square().sum_dim_intlist(-1, false, None::<Kind>) * 0.5
    }

    fn evaluate(&self, x: &Tensor) -> Evaluation {
        let x = &floats(x, self.dim(), self.map.mean().kind());
        let z = self.map.whiten(x);
        let u = z.square().sum_dim_intlist(-1, false, None::<Kind>) * 0.5;
        Evaluation::new(x.shallow_clone(), u, self.map.gradient_in_x(&z))
    }
}

impl Base for Gaussian {
    fn sample(&self, n: usize, rng: &mut Rng) -> Tensor {
        let mean = self.map.mean();
        self.map.colour(&rng.normal(&[n as i64, self.dim()], mean.kind(), mean.device()))
    }

    fn log_z(&self) -> f64 {
        let half_log_2pi = 0.5 * (2.0 * std::f64::consts::PI).ln();
        self.map.log_det() + self.dim() as f64 * half_log_2pi
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::density::distance_from;
    use crate::model::Mixture;

    #[test]
    fn the_distance_of_rows_is_counted_in_the_bases_standard_deviations() {
        let base = Gaussian::new(&[1.0, -2.0], &[0.5, 2.0]).unwrap();
        // |x − m|² = 3²(σ_1² + σ_2²) at every row
        let x = Tensor::from_slice(&[1.0 + 1.5, -2.0 - 6.0, 1.0 - 1.5, -2.0 + 6.0]).view([2, 2]);
        let far = distance_from(&base, &x);
        assert!((far - 3.0).abs() < 5.0 * 3.0 * (0.5f64 / 1_023.0).sqrt(), "{far}");
        let modes = Mixture::new(&[vec![-4.0], vec![4.0]], &[0.5, 0.5]).unwrap();
        let own = distance_from(&modes, &modes.sample(4_000, &mut Rng::new(1)));
        assert!((own - 1.0).abs() < 0.05, "{own}");
        assert!(distance_from(&base, &Tensor::zeros([3, 5], (Kind::Double, Device::Cpu))).is_nan());
    }
}

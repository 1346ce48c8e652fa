//! Give the Gaussian: the exactly sampled start of neural energies and the first test of every kernel.

use crate::density::{Base, Differentiable, Energy, Evaluation, floats};
use crate::error::{Error, Result};
use crate::numeric::Rng;
use tch::{Device, Kind, Tensor};

/// U(x) = Σ_j (x_j − μ_j)²/2σ_j², log Z = Σ_j log √(2π) σ_j.
#[derive(Debug)]
pub struct Gaussian {
    mean: Tensor,
    sigma: Tensor,
}

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
        Ok(Gaussian { mean: Tensor::from_slice(mean), sigma: Tensor::from_slice(sigma) })
    }

    /// N(0, σ² I) in d dimensions, of a given kind and device.
    ///
    /// # Errors
    /// As [`new`](Gaussian::new).
    pub fn isotropic(d: i64, sigma: f64, kind: Kind, device: Device) -> Result<Self> {
        let g = Self::new(&vec![0.0; d.max(0) as usize], &vec![sigma; d.max(0) as usize])?;
        Ok(Gaussian { mean: g.mean.to_kind(kind).to_device(device), sigma: g.sigma.to_kind(kind).to_device(device) })
    }

    /// The same distribution in another kind, on another device.
    ///
    /// # Errors
    /// A kind other than `Float` or `Double`.
    pub fn on(self, kind: Kind, device: Device) -> Result<Self> {
        if !matches!(kind, Kind::Float | Kind::Double) {
            return Err(Error::param("kind", format!("{kind:?}"), "Kind::Float or Kind::Double"));
        }
        let place = |t: Tensor| t.to_kind(kind).to_device(device);
        Ok(Gaussian { mean: place(self.mean), sigma: place(self.sigma) })
    }

    /// Dimension d.
    pub fn dim(&self) -> i64 {
        self.mean.size()[0]
    }
}

impl Differentiable for Gaussian {}

impl Energy for Gaussian {
    fn energy(&self, x: &Tensor) -> Tensor {
        let x = &floats(x, self.dim(), self.mean.kind());
        ((x - &self.mean) / &self.sigma).square().sum_dim_intlist(-1, false, None::<Kind>) * 0.5
    }

    fn evaluate(&self, x: &Tensor) -> Evaluation {
        let x = &floats(x, self.dim(), self.mean.kind());
        let z = (x - &self.mean) / &self.sigma;
        let u = z.square().sum_dim_intlist(-1, false, None::<Kind>) * 0.5;
        Evaluation::new(x.shallow_clone(), u, z / &self.sigma)
    }
}

impl Base for Gaussian {
    fn sample(&self, n: usize, rng: &mut Rng) -> Tensor {
        rng.normal(&[n as i64, self.dim()], self.mean.kind(), self.mean.device()) * &self.sigma + &self.mean
    }

    fn log_z(&self) -> f64 {
        let half_log_2pi = 0.5 * (2.0 * std::f64::consts::PI).ln();
        self.sigma.to_kind(Kind::Double).log().sum(Kind::Double).double_value(&[]) + self.dim() as f64 * half_log_2pi
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

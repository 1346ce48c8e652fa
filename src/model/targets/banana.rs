//! Give the banana: a Gaussian bent along a parabola.

use super::{LOG_2PI, at_least, finite, positive};
use crate::density::{Base, Differentiable, Energy, Evaluation, floats};
use crate::error::Result;
use crate::numeric::Rng;
use tch::{Device, Kind, Tensor};

/// x_0 = σz_0, x_1 = z_1 + b(x_0² − σ²), x_i = z_i for i ≥ 2, z ~ N(0, I) (Haario, Saksman, Tamminen 1999), normalised:
///
/// ```text
/// U(x) = x_0²/2σ² + ½ (x_1 − b(x_0² − σ²))² + ½ Σ_{i ≥ 2} x_i² + log σ + ½ d log 2π        log Z = 0
/// ```
///
/// The map has Jacobian σ. E x = 0, Var x_0 = σ², Var x_1 = 1 + 2b²σ⁴. The publication has σ = 10 with b = .03 and b = .1.
///
/// ```
/// use jarzynski::{Base, model::targets::Banana};
/// assert_eq!(Banana::new(2, 10.0, 0.03).unwrap().log_z(), 0.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Banana {
    d: i64,
    sigma: f64,
    bend: f64,
}

impl Banana {
    /// In d dimensions, at least 2, with standard deviation σ of x_0 and bend b.
    ///
    /// # Errors
    /// d below 2, σ not positive, b not finite.
    pub fn new(d: i64, sigma: f64, bend: f64) -> Result<Self> {
        Ok(Banana { d: at_least("d", d, 2)?, sigma: positive("sigma", sigma)?, bend: finite("bend", bend)? })
    }

    /// Dimension d.
    pub fn dim(&self) -> i64 {
        self.d
    }

    /// Var x_i of each coordinate.
    pub fn variances(&self) -> Vec<f64> {
        let second = 1.0 + 2.0 * self.bend.powi(2) * self.sigma.powi(4);
        [self.sigma.powi(2), second].into_iter().chain((2..self.d).map(|_| 1.0)).collect()
    }

    fn centre(&self, first: &Tensor) -> Tensor {
        (first.square() - self.sigma.powi(2)) * self.bend
    }

    /// x_0 `[n, 1]` and z `[n, d]` of rows x.
    fn straight(&self, x: &Tensor) -> (Tensor, Tensor) {
        let x = floats(x, self.d, Kind::Double);
        let first = x.narrow(1, 0, 1);
        let second = x.narrow(1, 1, 1) - self.centre(&first);
        let z = Tensor::cat(&[&first / self.sigma, second, x.narrow(1, 2, self.d - 2)], 1);
        (first, z)
    }

    fn of_straight(&self, z: &Tensor) -> Tensor {
        z.square().sum_dim_intlist(-1, false, None::<Kind>) * 0.5 + (self.sigma.ln() + 0.5 * self.d as f64 * LOG_2PI)
    }
}

impl Differentiable for Banana {}

impl Energy for Banana {
    fn energy(&self, x: &Tensor) -> Tensor {
        self.of_straight(&self.straight(x).1)
    }

    fn evaluate(&self, x: &Tensor) -> Evaluation {
        crate::error::no_grad(|| {
            let (first, z) = self.straight(x);
            let second = z.narrow(1, 1, 1);
            let along = &first / self.sigma.powi(2) - &second * &first * (2.0 * self.bend);
            let grad = Tensor::cat(&[along, z.narrow(1, 1, self.d - 1)], 1);
            Evaluation::new(x.shallow_clone(), self.of_straight(&z), grad)
        })
    }
}

impl Base for Banana {
    fn sample(&self, n: usize, rng: &mut Rng) -> Tensor {
        let z = rng.normal(&[n as i64, self.d], Kind::Double, Device::Cpu);
        let first = z.narrow(1, 0, 1) * self.sigma;
        let second = z.narrow(1, 1, 1) + self.centre(&first);
        Tensor::cat(&[first, second, z.narrow(1, 2, self.d - 2)], 1)
    }

    fn log_z(&self) -> f64 {
        0.0
    }
}

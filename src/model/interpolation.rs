//! Say how noise turns into data: x_t = a(t) z + c(t) x₁, linear, trigonometric, variance-preserving or as a diffusion does.

use crate::density::Noise;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The coefficients a(t) of the noise z ~ N(0, I) and c(t) of the data x₁, t from 0 (noise) to 1 (data).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Interpolation {
    /// a = 1 − t, c = t.
    #[default]
    Linear,
    /// a = cos(πt/2), c = sin(πt/2).
    Trigonometric,
    /// a = √(1 − t²), c = t.
    Preserving,
    /// Forward noising dX = −½β X dτ + √β dW of the data, τ = 1 − t, β(τ) = `beta_min` + τ(`beta_max` − `beta_min`):
    /// score-based diffusion, guide section 3.3. c = exp(−½∫₀^τ β), a² = 1 − c².
    ///
    /// At t = 0 some data is left, c(0) = exp(−(`beta_min` + `beta_max`)/4): the walkers' A_0 = U_base − U_0 accounts for that.
    Diffusion {
        /// β at τ = 0.
        beta_min: f64,
        /// β at τ = 1.
        beta_max: f64,
    },
}

/// a², c, aȧ and ċ at one time: what every distribution along the way is made of. (ȧ alone is infinite where a = √(1 − t²) ends.)
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Coefficients {
    /// a².
    pub a2: f64,
    /// c.
    pub c: f64,
    /// aȧ, half the derivative of a².
    pub aa: f64,
    /// ċ.
    pub cc: f64,
}

impl Interpolation {
    /// The usual diffusion: β from 0.1 to 20.
    pub fn diffusion() -> Self {
        Interpolation::Diffusion { beta_min: 0.1, beta_max: 20.0 }
    }

    /// The coefficients at t.
    pub fn at(self, t: f64) -> Coefficients {
        use std::f64::consts::FRAC_PI_2;
        match self {
            Interpolation::Linear => Coefficients { a2: (1.0 - t) * (1.0 - t), c: t, aa: t - 1.0, cc: 1.0 },
            Interpolation::Trigonometric => {
                let (s, c) = (FRAC_PI_2 * t).sin_cos();
                Coefficients { a2: c * c, c: s, aa: -FRAC_PI_2 * s * c, cc: FRAC_PI_2 * c }
            }
            Interpolation::Preserving => Coefficients { a2: (1.0 - t) * (1.0 + t), c: t, aa: -t, cc: 1.0 },
            Interpolation::Diffusion { beta_min, beta_max } => {
                let tau = 1.0 - t;
                let beta = beta_min + tau * (beta_max - beta_min);
                let integral = tau * beta_min + 0.5 * tau * tau * (beta_max - beta_min);
                let c = (-0.5 * integral).exp();
                Coefficients { a2: -(-integral).exp_m1(), c, aa: -0.5 * beta * c * c, cc: 0.5 * beta * c }
            }
        }
    }

    /// The noise of the backward SDE, guide (51): ε = ½β(1 − t), with which b + εs = −f + g²s. `None` but for a diffusion.
    pub fn backward_noise(self) -> Option<Noise> {
        match self {
            Interpolation::Diffusion { beta_min, beta_max } => {
                Some(Noise::Knots(vec![[0.0, 0.5 * beta_max], [1.0, 0.5 * beta_min]]))
            }
            _ => None,
        }
    }

    /// Rates of a diffusion in range?
    pub(crate) fn validate(self) -> Result<()> {
        if let Interpolation::Diffusion { beta_min, beta_max } = self {
            for (name, beta) in [("beta_min", beta_min), ("beta_max", beta_max)] {
                if !(beta > 0.0 && beta.is_finite()) {
                    return Err(Error::param(name, beta, "a positive, finite rate"));
                }
            }
        }
        Ok(())
    }
}

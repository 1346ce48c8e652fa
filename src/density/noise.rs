//! Say how much noise the walkers of a flow get: ε of eq. (17), constant or as a function of time.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// ε(t): the noise that a flow adds, with the score's pull that balances it. Any ε > 0 leaves every ρ_t as it is in
/// continuous time; for steps of size h it decides the variance of the weights.
///
/// Both densities of one step use the same ε_k, that of the step's middle. A number converts into a constant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Noise {
    /// The same at all times.
    Constant(f64),
    /// Linear between knots `[t, ε]` with rising t, constant before the first and after the last.
    Knots(Vec<[f64; 2]>),
}

impl From<f64> for Noise {
    fn from(eps: f64) -> Self {
        Noise::Constant(eps)
    }
}

impl Noise {
    /// ε at time t.
    ///
    /// ```
    /// use jarzynski::Noise;
    /// assert_eq!(Noise::Knots(vec![[0.0, 1.0], [1.0, 3.0]]).at(0.25), 1.5);
    /// ```
    pub fn at(&self, t: f64) -> f64 {
        match self {
            Noise::Constant(eps) => *eps,
            Noise::Knots(knots) => between_knots(knots, t),
        }
    }

    /// The same shape, `factor` times as much.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        match self {
            Noise::Constant(eps) => Noise::Constant(eps * factor),
            Noise::Knots(knots) => Noise::Knots(knots.iter().map(|[t, e]| [*t, e * factor]).collect()),
        }
    }

    /// Positive everywhere?
    pub(crate) fn validate(&self) -> Result<()> {
        let positive = |e: f64| {
            let expected = "a positive, finite noise: the densities of a step are Gaussians of variance 2hε. \
                            Without noise there is `Ode`";
            if e > 0.0 && e.is_finite() { Ok(()) } else { Err(Error::param("eps", e, expected)) }
        };
        match self {
            Noise::Constant(eps) => positive(*eps),
            Noise::Knots(knots) => {
                if knots.is_empty() || knots.windows(2).any(|w| w[0][0].partial_cmp(&w[1][0]).is_none_or(|o| o.is_ge()))
                {
                    return Err(Error::param("eps", format!("{knots:?}"), "at least one knot [t, ε], with rising t"));
                }
                knots.iter().try_for_each(|k| positive(k[1]))
            }
        }
    }
}

/// The value at time t, linear between knots `[t, value]` with rising t, constant before the first and after the last.
pub(crate) fn between_knots(knots: &[[f64; 2]], t: f64) -> f64 {
    let after = knots.partition_point(|k| k[0] < t);
    match (after.checked_sub(1).map(|i| knots[i]), knots.get(after).copied()) {
        (Some([a, ea]), Some([b, eb])) => ea + (eb - ea) * (t - a) / (b - a),
        (Some([_, e]), None) | (None, Some([_, e])) => e,
        (None, None) => f64::NAN,
    }
}

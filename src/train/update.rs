//! Limit one update of θ by the conditional ESS it costs: let it through, shrink it, or bridge it.

use crate::{Error, Model, Point, Result, Walkers};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// What happens to a step that the optimiser proposes, θ_k → θ*.
///
/// The conditional ESS of moving to θ_s = θ_k + s(θ* − θ_k) is (Σ w e^Δ)²/Σ w e^{2Δ}, Δ = U_k − U_{θ_s} on the walkers;
/// each trial of an s is one forward pass over them. The weights are exact under every choice.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Update {
    /// Always θ*. What PCD and CD do.
    Free,
    /// The largest tried s whose conditional ESS is at least `ess`: a trust region in distribution. After 12 trials the
    /// last and shortest one is taken as it is.
    Shrink {
        /// Least conditional ESS, in (0, 1).
        ess: f64,
    },
    /// All the way to θ* in legs of conditional ESS at least `ess`, moving and reweighting at each intermediate θ; at
    /// most `max` legs, then the rest of the step is dropped. Adaptive tempering: exact at any learning rate.
    Bridge {
        /// Least conditional ESS of a leg, in (0, 1).
        ess: f64,
        /// Most legs per update.
        max: usize,
    },
}

impl Update {
    pub(super) fn bound(self) -> Option<f64> {
        match self {
            Update::Free => None,
            Update::Shrink { ess } | Update::Bridge { ess, .. } => Some(ess),
        }
    }

    pub(super) fn legs(self) -> usize {
        if let Update::Bridge { max, .. } = self { max } else { 1 }
    }

    pub(super) fn validate(self) -> Result<()> {
        if let Some(ess) = self.bound().filter(|e| !(*e > 0.0 && *e < 1.0)) {
            return Err(Error::param("update.ess", ess, "a conditional ESS strictly between 0 and 1"));
        }
        if self.legs() == 0 {
            return Err(Error::param("update.max", 0, "at least 1 leg"));
        }
        Ok(())
    }
}

/// The segment from θ_k to the optimiser's θ*, and where on it the model stands.
pub(super) struct Segment {
    params: Vec<Tensor>,
    from: Vec<Tensor>,
    to: Vec<Tensor>,
    pub at: f64,
}

impl Segment {
    /// A copy of the present parameters, before the optimiser changes them in place.
    pub fn begin<M: Model>(model: &M) -> Vec<Tensor> {
        model.vars().trainable_variables().iter().map(|p| p.detach().copy()).collect()
    }

    /// After the optimiser's step: the model stands at θ*.
    pub fn new<M: Model>(model: &M, from: Vec<Tensor>) -> Self {
        let params = model.vars().trainable_variables();
        let to = params.iter().map(|p| p.detach().copy()).collect();
        Segment { params, from, to, at: 0.0 }
    }

    fn stand(&mut self, s: f64) {
        crate::no_grad(|| {
            for ((p, a), b) in self.params.iter_mut().zip(&self.from).zip(&self.to) {
                // Exactly θ* at s = 1, whatever a + 1·(b − a) rounds to.
                if s == 1.0 { p.copy_(b) } else { p.copy_(&(a + (b - a) * s)) }
            }
        });
    }

    /// Moves on from `self.at` to the furthest tried place whose conditional ESS is at least `bound`; returns the number
    /// of trials. `known`: where the walkers' energy at the place left is known (before or after the kernel's move).
    pub fn advance<M: Model>(&mut self, model: &M, walkers: &Walkers, known: &Point, bound: f64) -> usize {
        const TRIALS: usize = 12;
        let u = known.u.to_kind(Kind::Double);
        let here = self.at;
        let mut reach = 1.0 - here;
        for trial in 1..=TRIALS {
            let s = if reach == 1.0 - here { 1.0 } else { here + reach };
            self.stand(s);
            self.at = s;
            let delta = &u - crate::no_grad(|| model.energy(&known.x)).to_kind(Kind::Double);
            let c = walkers.conditional_ess(&delta);
            if c >= bound {
                return trial;
            }
            // 1/c − 1 is the variance of Δ to leading order and grows as the square of the step.
            let guess = if c > 0.0 { ((1.0 / bound - 1.0) / (1.0 / c - 1.0)).sqrt() * 0.95 } else { 0.0 };
            reach *= guess.clamp(0.05, 0.9);
        }
        TRIALS
    }
}

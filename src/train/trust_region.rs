//! Limit one update of θ by its conditional ESS: make it whole, shrink it, or take it in substeps.

use crate::density::Model;
use crate::error::{Error, Result, no_grad};
use crate::run::{Population, Tally};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// What happens to a step that the optimiser proposes, θ_k → θ*.
///
/// The conditional ESS of moving to θ_s = θ_k + s(θ* − θ_k) is (Σ w e^Δ)²/Σ w e^{2Δ}, Δ = U_k − U_{θ_s} on the walkers;
/// each tried s is one forward pass over them. The weights are exact under every choice.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum TrustRegion {
    /// Always θ*. What PCD and CD do.
    Unlimited,
    /// The largest tried s whose conditional ESS is at least `ess`: a trust region in distribution. After 12 backtracks the
    /// last and shortest one is taken as it is.
    Shrink {
        /// Least conditional ESS, in (0, 1).
        ess: f64,
    },
    /// All the way to θ* in substeps of conditional ESS at least `ess`, moving and reweighting at each intermediate θ; at
    /// most `max` substeps, then the rest of the step is dropped. Adaptive tempering: exact at any learning rate.
    Substeps {
        /// Least conditional ESS of a substep, in (0, 1).
        ess: f64,
        /// Most substeps per update.
        max: usize,
    },
}

impl TrustRegion {
    pub(super) fn bound(self) -> Option<f64> {
        match self {
            TrustRegion::Unlimited => None,
            TrustRegion::Shrink { ess } | TrustRegion::Substeps { ess, .. } => Some(ess),
        }
    }

    fn substeps(self) -> usize {
        if let TrustRegion::Substeps { max, .. } = self { max } else { 1 }
    }

    pub(super) fn validate(self) -> Result<()> {
        if let Some(ess) = self.bound().filter(|e| !(*e > 0.0 && *e < 1.0)) {
            return Err(Error::param("trust_region.ess", ess, "a conditional ESS strictly between 0 and 1"));
        }
        if self.substeps() == 0 {
            return Err(Error::param("trust_region.max", 0, "at least 1 substep"));
        }
        Ok(())
    }
}

/// One update on its way from θ_k to θ*.
pub(super) struct Advance {
    region: TrustRegion,
    taken: usize,
    segment: Option<Segment>,
}

impl Advance {
    pub fn new(region: TrustRegion) -> Self {
        Advance { region, taken: 0, segment: None }
    }

    /// Whether to take another substep.
    pub fn next(&mut self) -> bool {
        let more = self.taken == 0 || (self.taken < self.region.substeps() && self.at() < 1.0);
        self.taken += usize::from(more);
        more
    }

    /// How far the model is on the way, in [0, 1].
    pub fn at(&self) -> f64 {
        self.segment.as_ref().map_or(1.0, |s| s.at)
    }

    /// Moves θ on; `step` makes the whole step of the optimiser and is called once per update.
    pub fn advance<M: Model>(&mut self, model: &M, walkers: &Population, tally: &mut Tally, step: impl FnOnce()) {
        tally.substeps += 1;
        let Some(bound) = self.region.bound() else { return step() };
        let segment = self.segment.get_or_insert_with(|| {
            let segment = Segment::begin(model);
            step();
            segment
        });
        let tried = segment.advance(model, walkers, bound);
        tally.backtracks += tried as u64;
        tally.cost.forward += (tried * walkers.walkers.len()) as u64;
    }
}

/// The segment from θ_k to the optimiser's θ*, and the model's present place on it.
struct Segment {
    params: Vec<Tensor>,
    from: Vec<Tensor>,
    /// θ*, copied once the model has to leave it.
    to: Option<Vec<Tensor>>,
    at: f64,
}

impl Segment {
    /// Before the optimiser changes the parameters in place.
    fn begin<M: Model>(model: &M) -> Self {
        let params = model.vars().trainable_variables();
        let from = copies(&params);
        Segment { params, from, to: None, at: 0.0 }
    }

    fn stand(&mut self, s: f64) {
        if s == 1.0 && self.to.is_none() {
            return; // where the optimiser has put it
        }
        let to = self.to.get_or_insert_with(|| copies(&self.params));
        no_grad(|| {
            for ((p, a), b) in self.params.iter_mut().zip(&self.from).zip(to) {
                // Exactly θ* at s = 1, whatever a + 1·(b − a) rounds to.
                if s == 1.0 { p.copy_(b) } else { p.copy_(&(a + (&*b - a) * s)) }
            }
        });
    }

    /// Moves on from `self.at` to the furthest tried place whose conditional ESS is at least `bound`; returns the number
    /// of tried places.
    fn advance<M: Model>(&mut self, model: &M, population: &Population, bound: f64) -> usize {
        const MOST: usize = 12;
        let known = population.known();
        let u = known.u.to_kind(Kind::Double);
        let here = self.at;
        let mut reach = 1.0 - here;
        for tried in 1..=MOST {
            let s = if reach == 1.0 - here { 1.0 } else { here + reach };
            self.stand(s);
            self.at = s;
            let delta = &u - no_grad(|| model.energy(&known.x)).to_kind(Kind::Double);
            let c = population.walkers.conditional_ess(&delta);
            if c >= bound {
                return tried;
            }
            // 1/c − 1 is the variance of Δ to leading order and grows as the square of the step.
            let guess = if c > 0.0 { ((1.0 / bound - 1.0) / (1.0 / c - 1.0)).sqrt() * 0.95 } else { 0.0 };
            reach *= guess.clamp(0.05, 0.9);
        }
        MOST
    }
}

fn copies(params: &[Tensor]) -> Vec<Tensor> {
    params.iter().map(|p| p.detach().copy()).collect()
}

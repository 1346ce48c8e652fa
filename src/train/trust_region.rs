//! Limit one update of θ by its conditional ESS: make it whole, shrink it, or take it in substeps.

use crate::density::{Along, Evaluation, Model};
use crate::error::{Error, Result, no_grad};
use crate::run::{Population, Tally};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// What happens to a step that the optimiser proposes, θ_k → θ*.
///
/// The conditional ESS of moving to θ_s = θ_k + s(θ* − θ_k) is (Σ w e^Δ)²/Σ w e^{2Δ}, Δ = U_k − U_{θ_s} on the walkers;
/// each tried s is one forward pass over them, for an RBM one pass over its hidden units ([`Model::along`]). To leading order it
/// is 1/(1 + s² Var j) with j the derivative of U along the step: a limit on the ESS is a trust region in the Fisher metric. The
/// first s is that of the update before, corrected by this law; one or two are tried as a rule. Weights are exact under every
/// choice.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum TrustRegion {
    /// Always θ*. What PCD does by default, and CD always.
    Unlimited,
    /// An s whose conditional ESS is at least `ess`, and that is 1 or uses at least half of the variance that `ess` allows. After
    /// 12 trials the last and shortest one is taken as it is. For walkers without weights too, as a bound of the step.
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
    /// The part of a step with which to begin.
    first: f64,
    /// The part of the variance that the limit allows which this update may use.
    share: f64,
    /// The lowest conditional ESS of what was taken.
    pub lowest: f64,
}

impl Advance {
    /// `first`: the part of the previous update's step that the limit let through; `factor`: the learning rate's, which the
    /// length that the limit allows follows.
    pub fn new(region: TrustRegion, first: f64, factor: f64) -> Self {
        // substeps go all the way, whatever their length
        let share = if let TrustRegion::Shrink { .. } = region { factor.min(1.0).powi(2) } else { 1.0 };
        Advance { region, taken: 0, segment: None, first, share, lowest: f64::NAN }
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

    /// The part of the step with which the next update is to begin.
    pub fn reach(&self) -> f64 {
        self.first
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
        let (here, limit) = (segment.at, Limit { allowed: (1.0 / bound - 1.0) * self.share, first: self.first });
        let reached = segment.advance(model, walkers, limit);
        self.first = segment.at - here;
        self.lowest = self.lowest.min(reached.ess);
        tally.backtracks += reached.tried;
        tally.cost.forward += reached.passes * walkers.walkers.len() as u64;
    }
}

/// What one substep is to keep to.
#[derive(Clone, Copy)]
struct Limit {
    /// Largest variance of Δ, as 1/(conditional ESS) − 1.
    allowed: f64,
    /// The part of the step that is tried first.
    first: f64,
}

/// Where a substep ended.
struct Reached {
    ess: f64,
    /// Places at which U was evaluated.
    tried: u64,
    /// Forward passes that this took.
    passes: u64,
}

/// The segment from θ_k to the optimiser's θ*, and the model's present place on it.
struct Segment {
    params: Vec<Tensor>,
    from: Vec<Tensor>,
    /// θ*, copied once the model has to leave it.
    to: Option<Vec<Tensor>>,
    at: f64,
    /// Where the parameters are: elsewhere than `at` while places are tried.
    stands: f64,
}

impl Segment {
    /// Before the optimiser changes the parameters in place.
    fn begin<M: Model>(model: &M) -> Self {
        let params = model.vars().trainable_variables();
        let from = copies(&params);
        Segment { params, from, to: None, at: 0.0, stands: 1.0 }
    }

    fn stand(&mut self, s: f64) {
        if s == self.stands {
            return;
        }
        let to = self.to.get_or_insert_with(|| copies(&self.params));
        no_grad(|| {
            for ((p, a), b) in self.params.iter_mut().zip(&self.from).zip(to) {
                // Exactly θ* at s = 1, whatever a + 1·(b − a) rounds to.
                if s == 1.0 { p.copy_(b) } else { p.copy_(&(a + (&*b - a) * s)) }
            }
        });
        self.stands = s;
    }

    /// U at the walkers as a function of the place, without moving the model, where the model can.
    fn along<M: Model>(&self, model: &M, known: &Evaluation) -> Option<Along> {
        let here = self.at;
        let between = |s: f64| {
            let to = self.to.as_ref().unwrap_or(&self.params);
            no_grad(|| self.from.iter().zip(to).map(|(a, b)| a + (b - a) * s).collect::<Vec<_>>())
        };
        let from = if here == 0.0 { copies(&self.from) } else { between(here) };
        let delta = no_grad(|| {
            let to = self.to.as_ref().unwrap_or(&self.params);
            self.from.iter().zip(to).map(|(a, b)| b - a).collect::<Vec<_>>()
        });
        let along = model.along(known, &from, &delta)?;
        Some(Box::new(move |s| along(s - here)))
    }

    /// Moves on from `self.at` to a place whose conditional ESS is at least the bound: the end, or one where the variance of Δ
    /// is at least half of what the bound allows.
    fn advance<M: Model>(&mut self, model: &M, population: &Population, limit: Limit) -> Reached {
        const MOST: u64 = 12;
        let (known, here) = (population.known(), self.at);
        let u = known.u.to_kind(Kind::Double);
        let along = self.along(model, known);
        // 1/c − 1 is the variance of Δ to leading order and grows as the square of the step
        let variance = |c: f64| if c > 0.0 { 1.0 / c - 1.0 } else { f64::INFINITY };
        let allowed = limit.allowed;
        let (mut reach, mut best) = (limit.first.clamp(1e-6, 1.0 - here), None::<(f64, f64)>);
        let (mut tried, mut too_far) = (0, f64::INFINITY);
        let (at, ess) = loop {
            let s = if reach >= 1.0 - here { 1.0 } else { here + reach };
            let energy = match &along {
                Some(along) => along(s),
                None => {
                    self.stand(s);
                    no_grad(|| model.energy(&known.x)).to_kind(Kind::Double)
                }
            };
            let c = population.walkers.conditional_ess(&(&u - energy));
            tried += 1;
            let v = variance(c);
            if v <= allowed {
                if s == 1.0 || v >= 0.5 * allowed || tried >= MOST {
                    break (s, c);
                }
                best = Some((s, c));
                reach *= ((allowed / v.max(f64::MIN_POSITIVE)).sqrt() * 0.95).min(1e6);
            } else {
                too_far = reach;
                reach *= ((allowed / v).sqrt() * 0.95).clamp(0.05, 0.9);
                if tried >= MOST {
                    break best.unwrap_or((s, c));
                }
            }
            if let Some((s, _)) = best.filter(|_| too_far.is_finite()) {
                // the law does not hold between the two: halve what is between
                let shortest = s - here;
                if !(shortest * 1.2 < reach && reach < too_far) {
                    reach = 0.5 * (shortest + too_far);
                }
            }
        };
        self.at = at;
        self.stand(at);
        let passes = if along.is_some() { 1 } else { tried };
        Reached { ess, tried, passes }
    }
}

fn copies(params: &[Tensor]) -> Vec<Tensor> {
    params.iter().map(|p| p.detach().copy()).collect()
}

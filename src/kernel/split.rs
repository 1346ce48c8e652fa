//! Carry walkers by the flow's map, then let them move by Langevin dynamics at the new time.

use super::escorted::check_velocity;
use super::flow::Order;
use super::{Arrival, EvalCounts, Invariant, Kernel, Mala, Map, Move, Reversal, Ula};
use crate::density::Noise;
use crate::density::{At, Evaluation, Flow};
use crate::error::Result;
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use tch::Kind;

/// The second half of a [`Split`] step, with step size hε at t_{k+1}.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Langevin {
    /// ULA and its weight.
    Ula,
    /// MALA under its exact reversal: α − λ = 0 at fixed energy.
    #[default]
    Mala,
}

/// x → x′ = T_h(x) with log det, then x′ → y by Langevin dynamics of step hε under U_{k+1}:
/// A += U_k(x) + log det ∂T_h(x) − U_{k+1}(x′) + (the second move's own increment).
///
/// Each half is exact by itself. There is no term ξᵀJ_bξ, so that the weights vary only by the map's error
/// and, for ULA, its own: O(h) in total for an Euler map or ULA, O(h⁴) for RK4 with MALA.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The flow's map.
    pub map: Map,
    /// The move at the new time.
    pub then: Langevin,
    /// The noise ε > 0, in units of x² per unit of t.
    pub eps: Noise,
}

impl Split {
    /// This map, then this move.
    pub fn new(map: Map, then: Langevin, eps: impl Into<Noise>) -> Self {
        Split { map, then, eps: eps.into() }
    }

    /// How the weights vanish as h → 0: the worse of the two halves.
    pub fn order(&self) -> Order {
        let map = self.map.order();
        match self.then {
            Langevin::Ula => Order { increment: map.increment.min(1.5), total: map.total.min(1.0) },
            Langevin::Mala => map,
        }
    }
}

impl<P: Flow + ?Sized> Kernel<At<'_, P>> for Split {
    fn forward(&self, u: &At<P>, at: &Evaluation, _rng: &mut Rng) -> Move {
        self.map.carry(u, at)
    }

    fn backward(&self, u: &At<P>, _at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival {
        let carried = u.path.evaluate(u.t, &mv.y);
        let lambda = carried.u.to_kind(Kind::Double);
        let mut cost = EvalCounts::evaluation(carried.len());
        let step = u.h * self.eps.at(u.t - 0.5 * u.h);
        match self.then {
            Langevin::Ula => {
                let moved = Ula::new(step).step(u, &carried, rng);
                cost += moved.cost;
                Arrival { lambda: lambda - moved.increment, evaluation: moved.evaluation, acceptance: None, cost }
            }
            Langevin::Mala => {
                let moved = Mala::new(step).sweep(u, &carried, rng);
                cost += moved.cost;
                Arrival { lambda, evaluation: moved.evaluation, acceptance: Some(moved.acceptance), cost }
            }
        }
    }

    /// First the reversal of the Langevin move at t_{k+1}, then the inverse of the map of t_k.
    fn reverse(&self, from: &At<P>, to: &At<P>, at: &Evaluation, rng: &mut Rng) -> Result<Reversal> {
        let step = to.h * self.eps.at(to.t - 0.5 * to.h);
        let moved = match self.then {
            Langevin::Ula => Ula::new(step).reverse(to, to, at, rng)?,
            Langevin::Mala => {
                let moved = Mala::new(step).reverse_sweep(to, at, rng)?;
                let none = at.u.zeros_like().to_kind(Kind::Double);
                Reversal::new(moved.evaluation, none, moved.cost).accepted(moved.acceptance)
            }
        };
        let carried = moved.evaluation;
        let mut all = self.map.uncarry(from, &carried.x, &carried.u.to_kind(Kind::Double));
        all.increment += moved.increment;
        all.cost += moved.cost;
        Ok(Reversal { acceptance: moved.acceptance, ..all })
    }

    fn validate(&self) -> Result<()> {
        self.eps.validate()
    }

    fn check(&self, u: &At<P>, at: &Evaluation) -> Result<()> {
        check_velocity(u, at)
    }

    fn identity(&self) -> Result<serde_json::Value> {
        super::identify("Split", self)
    }
}

//! Move walkers of two-layer models by alternating Gibbs sampling, with the four backward densities that its weights can have.

use super::{Arrival, EvalCounts, Kernel, Move, Reversal, Step};
use crate::density::{Bipartite, Evaluation, Layers};
use crate::error::{Error, Result};
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// The backward density paired with a sweep h′ ~ p(h′|v), v′ ~ p(v′|h′). All are exact; they differ in variance by orders.
///
/// The sweep leaves ρ invariant but is not reversible: with the same scan as backward kernel A changes even at
/// fixed θ, with the others it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GibbsReverse {
    /// Lemma 3 put into Prop. 1: the same scan from (v′, h′) at θ_{k+1}. Walkers (v | h).
    SameScan,
    /// The reversed scan at θ_{k+1}: v ~ p(v|h′), then h ~ p(h|v), at fixed θ the time reversal. Walkers (v | h).
    ReversedScan,
    /// The exact time reversal at θ_k, the weight of AIS: A += U_k(y) − U_{k+1}(y). Walkers (v | h).
    Exact,
    /// The exact time reversal with the hidden units summed out: A += F_k(v′) − F_{k+1}(v′). Walkers v.
    #[default]
    Collapsed,
}

/// `sweeps` Gibbs sweeps per step, Lemmas 3 and 4, for any [`Layers`]: binary, Gaussian, Ising and Potts visible layers among
/// them.
///
/// With walkers v the chain is that of the visible marginal, and weights hold for functions of v only: a walker's own h
/// would be biased (tested in `tests/it/rbm.rs`). Walkers are (v | h) where the model says `joint`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gibbs {
    /// Sweeps per step, at least 1.
    pub sweeps: usize,
    /// The backward density.
    #[serde(default)]
    pub reverse: GibbsReverse,
}

impl Default for Gibbs {
    fn default() -> Self {
        Gibbs::new()
    }
}

impl Gibbs {
    /// One sweep, collapsed weights.
    pub fn new() -> Self {
        Gibbs { sweeps: 1, reverse: GibbsReverse::Collapsed }
    }

    /// `sweeps` sweeps, collapsed weights.
    pub fn sweeps(sweeps: usize) -> Self {
        Gibbs { sweeps, ..Gibbs::new() }
    }

    /// One sweep, with another backward density.
    pub fn with(reverse: GibbsReverse) -> Self {
        Gibbs { sweeps: 1, reverse }
    }
}

/// Rows through vW, and through hWᵀ.
fn products(n: usize, hidden: usize, visible: usize) -> EvalCounts {
    EvalCounts { forward: (n * hidden) as u64, backward: (n * visible) as u64, ..Default::default() }
}

/// Walkers (v, h) with the inputs of the hidden units.
struct Place {
    v: Tensor,
    h: Tensor,
    /// a of v.
    a: Tensor,
}

impl Gibbs {
    /// `sweeps` sweeps from `at`: v′, h′ and, where wanted, a of v′.
    fn sample<L: Layers>(
        &self,
        layers: &L,
        at: &Evaluation,
        arrive: bool,
        rng: &mut Rng,
    ) -> (Tensor, Tensor, Option<Tensor>, EvalCounts) {
        let (n, known) = (at.len(), at.input().map(Tensor::shallow_clone));
        let mut cost = products(n, usize::from(known.is_none()) + self.sweeps - usize::from(!arrive), self.sweeps);
        let mut a = known.unwrap_or_else(|| layers.hidden_input(&layers.split(&at.x).0));
        for s in 1..=self.sweeps {
            let h = layers.draw_hidden(&a, rng);
            let v = layers.draw_visible(&h, rng);
            if s == self.sweeps {
                let input = arrive.then(|| layers.hidden_input(&v));
                return (v, h, input, cost);
            }
            a = layers.hidden_input(&v);
        }
        // no sweeps: refused by `validate`
        cost = EvalCounts::default();
        let (v, h) = layers.split(&at.x);
        (v, h.unwrap_or_default(), Some(a), cost)
    }

    /// Rows as the walkers are: v, or (v | h).
    fn rows(&self, v: Tensor, h: &Tensor) -> Tensor {
        if self.reverse == GibbsReverse::Collapsed { v } else { Tensor::cat(&[&v, h], -1) }
    }

    /// log f(x → y) = log p(h′|v) + log p(v′|h′), with g′ of h′.
    fn log_forward<L: Layers>(layers: &L, from: &Place, to: &Place, g: &Tensor) -> Tensor {
        layers.log_hidden(&to.h, &from.a) + layers.log_visible(&to.v, g)
    }

    /// log r(y → x) of the same or the reversed scan, with g′ of h′.
    fn log_backward<L: Layers>(&self, layers: &L, from: &Place, to: &Place, g: &Tensor) -> (Tensor, usize) {
        match self.reverse {
            // h ~ p(h|v′), v ~ p(v|h)
            GibbsReverse::SameScan => {
                let own = layers.visible_input(&from.h);
                (layers.log_hidden(&from.h, &to.a) + layers.log_visible(&from.v, &own), 1)
            }
            // v ~ p(v|h′), h ~ p(h|v)
            _ => {
                let a = layers.hidden_input(&from.v);
                (layers.log_visible(&from.v, g) + layers.log_hidden(&from.h, &a), 0)
            }
        }
    }

    /// One sweep with its forward density under `layers`.
    fn leave<L: Layers>(&self, layers: &L, from: &Place, rng: &mut Rng) -> (Place, Tensor, Tensor) {
        let h = layers.draw_hidden(&from.a, rng);
        let v = layers.draw_visible(&h, rng);
        let g = layers.visible_input(&h);
        let a = layers.hidden_input(&v);
        let to = Place { v, h, a };
        let log_f = Self::log_forward(layers, from, &to, &g);
        (to, log_f, g)
    }

    /// One step back from `to`: (v, h) ~ r under `layers`, with log r and the products spent.
    fn retreat<L: Layers>(&self, layers: &L, to: &Place, rng: &mut Rng) -> (Place, Tensor, EvalCounts) {
        let n = to.v.size()[0] as usize;
        let (v, h) = match self.reverse {
            GibbsReverse::SameScan => {
                let h = layers.draw_hidden(&to.a, rng);
                (layers.draw_visible(&h, rng), h)
            }
            _ => {
                let v = layers.draw_visible(&to.h, rng);
                let h = layers.draw_hidden(&layers.hidden_input(&v), rng);
                (v, h)
            }
        };
        let a = layers.hidden_input(&v);
        let from = Place { v, h, a };
        let g = layers.visible_input(&to.h);
        let (log_r, more) = self.log_backward(layers, &from, to, &g);
        (from, log_r, products(n, 3 - 2 * more, 2 + more))
    }

    /// A reverse step of a scan: the last sweep back by r at θ_{k+1}, the others by r at θ_k.
    fn unscan<L: Layers>(&self, old: &L, new: &L, at: &Evaluation, rng: &mut Rng) -> Reversal {
        let n = at.len();
        let mut to = Self::place(new, at);
        let mut increment = -at.u.to_kind(Kind::Double);
        let mut cost = EvalCounts::default();
        for s in (1..=self.sweeps).rev() {
            let (mut from, log_r, spent) = self.retreat(if s == self.sweeps { new } else { old }, &to, rng);
            // under θ_k, where the sweep began
            from.a = old.hidden_input(&from.v);
            let log_f = Self::log_forward(old, &from, &to, &old.visible_input(&to.h));
            increment = &increment + log_r - log_f;
            cost += spent;
            cost += products(n, 1, 1);
            to = from;
        }
        let u = old.joint_energy(&to.v, &to.h, &to.a);
        let x = Tensor::cat(&[&to.v, &to.h], -1);
        let point = Evaluation::new(x, u.shallow_clone(), Tensor::new()).with_input(to.a);
        Reversal::new(point, increment + u, cost)
    }

    fn place<L: Layers>(layers: &L, at: &Evaluation) -> Place {
        let (v, h) = layers.split(&at.x);
        let a = at.input().map_or_else(|| layers.hidden_input(&v), Tensor::shallow_clone);
        Place { h: h.unwrap_or_else(|| a.zeros_like()), v, a }
    }

    fn scans(&self) -> bool {
        matches!(self.reverse, GibbsReverse::SameScan | GibbsReverse::ReversedScan)
    }
}

impl<E: Bipartite + ?Sized> Kernel<E> for Gibbs {
    fn forward(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Move {
        let (layers, n) = (u.layers(), at.len());
        let cost_of = |y: Tensor, alpha, at_y, cost| Move { y, alpha, at_y, acceptance: None, cost, fault: None };
        if !self.scans() {
            let (v, h, a, cost) = self.sample(&layers, at, true, rng);
            let a = a.unwrap_or_default();
            let alpha = match self.reverse {
                GibbsReverse::Collapsed => layers.free_energy(&v, &a),
                _ => layers.joint_energy(&v, &h, &a),
            };
            let y = self.rows(v, &h);
            let point = Evaluation::new(y.shallow_clone(), alpha.shallow_clone(), Tensor::new()).with_input(a);
            return cost_of(y, alpha, Some(point), cost);
        }
        // all but the last sweep at fixed θ, with their whole increments; then the forward half of the last
        let mut from = Self::place(&layers, at);
        let mut alpha = at.u.to_kind(Kind::Double);
        let mut cost = EvalCounts::default();
        for s in 1..=self.sweeps {
            let (to, log_f, g) = self.leave(&layers, &from, rng);
            cost += products(n, 1, 1);
            alpha = &alpha - log_f;
            if s < self.sweeps {
                let (log_r, more) = self.log_backward(&layers, &from, &to, &g);
                alpha = &alpha + log_r;
                cost += products(n, 1 - more, more);
                from = to;
                continue;
            }
            let x = Tensor::cat(&[&from.v, &from.h], -1);
            let y = self.rows(to.v.shallow_clone(), &to.h);
            // the backward half needs where the last sweep began
            let before = Evaluation::new(x, layers.joint_energy(&from.v, &from.h, &from.a), Tensor::new());
            return cost_of(y, alpha, Some(before), cost);
        }
        cost_of(at.x.shallow_clone(), alpha, None, cost)
    }

    fn backward(&self, u: &E, at: &Evaluation, mv: Move, _rng: &mut Rng) -> Arrival {
        let (layers, n) = (u.layers(), at.len());
        let point = layers.evaluate_rows(&mv.y);
        let mut cost = products(n, 1, 0);
        let mut lambda = point.u.to_kind(Kind::Double);
        if self.scans() {
            let before = mv.at_y.as_ref().unwrap_or(at);
            let (v, h) = layers.split(&before.x);
            let a = v.empty_like();
            let from = Place { h: h.unwrap_or_default(), v, a };
            let to = Self::place(&layers, &point);
            let g = layers.visible_input(&to.h);
            let (log_r, more) = self.log_backward(&layers, &from, &to, &g);
            cost += products(n, 1 - more, 1 + more);
            lambda = &lambda - log_r;
        }
        Arrival { lambda, evaluation: point, acceptance: None, cost }
    }

    /// `Collapsed`: the sweep itself, since the chain of v is in detailed balance. `Exact`: v ~ p(v|h′), then h ~ p(h|v), at θ_k.
    /// The scans: r at θ_{k+1}.
    fn reverse(&self, from: &E, to: &E, at: &Evaluation, rng: &mut Rng) -> Result<Reversal> {
        let (old, n) = (from.layers(), at.len());
        if self.scans() {
            return Ok(self.unscan(&old, &to.layers(), at, rng));
        }
        let start = old.evaluate_rows(&at.x);
        let increment = start.u.to_kind(Kind::Double) - at.u.to_kind(Kind::Double);
        let mut cost = products(n, 1, 0);
        if self.reverse == GibbsReverse::Collapsed {
            let (v, _, a, more) = self.sample(&old, &start, true, rng);
            cost += more;
            let a = a.unwrap_or_default();
            let u = old.free_energy(&v, &a);
            return Ok(Reversal::new(Evaluation::new(v, u, Tensor::new()).with_input(a), increment, cost));
        }
        let mut place = Self::place(&old, &start);
        for _ in 0..self.sweeps {
            let v = old.draw_visible(&place.h, rng);
            let a = old.hidden_input(&v);
            place = Place { h: old.draw_hidden(&a, rng), v, a };
            cost += products(n, 1, 1);
        }
        let u = old.joint_energy(&place.v, &place.h, &place.a);
        let x = Tensor::cat(&[&place.v, &place.h], -1);
        Ok(Reversal::new(Evaluation::new(x, u, Tensor::new()).with_input(place.a), increment, cost))
    }

    fn forward_unweighted(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Move {
        let layers = u.layers();
        let (v, h, _, cost) = self.sample(&layers, at, false, rng);
        let y = self.rows(v, &h);
        Move { y, alpha: at.u.zeros_like(), at_y: None, acceptance: None, cost, fault: None }
    }

    fn step(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Step {
        let mut mv = self.forward(u, at, rng);
        let arrived = if self.scans() { None } else { mv.at_y.take() };
        if let Some(point) = arrived {
            // at fixed θ α − λ of an exact reversal is 0, and y has been evaluated
            return Step { increment: point.u.zeros_like(), evaluation: point, acceptance: None, cost: mv.cost };
        }
        let (alpha, mut cost) = (mv.alpha.shallow_clone(), mv.cost);
        let arrival = self.backward(u, at, mv, rng);
        cost += arrival.cost;
        Step { evaluation: arrival.evaluation, increment: alpha - arrival.lambda, acceptance: None, cost }
    }

    fn validate(&self) -> Result<()> {
        if self.sweeps == 0 { Err(Error::param("sweeps", 0, "at least 1")) } else { Ok(()) }
    }

    fn check(&self, u: &E, at: &Evaluation) -> Result<()> {
        let (dv, dh) = u.layers().dims();
        let (wanted, of) = match self.reverse {
            GibbsReverse::Collapsed => (dv, "v"),
            _ => (dv + dh, "(v | h), which a model with `joint` starts from"),
        };
        let got = at.x.size();
        if got.last() == Some(&wanted) {
            return Ok(());
        }
        let expected = format!("[n, {wanted}]: {:?} weights walkers that are {of}", self.reverse);
        Err(Error::Shape { name: "walkers", got, expected })
    }

    fn identity(&self) -> Result<serde_json::Value> {
        super::identify("Gibbs", self)
    }
}

//! Evaluate a flow's energy U_θ, score s and velocity b_θ at times and rows, and make it a path.

use super::{FlowNet, Origin};
use crate::density::{Base, Differentiable, Evaluation, Flow, Path, floats, vector_products};
use crate::error::{Error, Result, no_grad};
use crate::model::bridge::{Way, columns, rows};
use crate::model::time_mlp::TimeMlp;
use tch::{Kind, Tensor};

/// The Gaussian that has the path's moments at one time: m, ṁ, V, V̇, `[n or 1, d]`.
pub(crate) struct Moments {
    m: Tensor,
    mm: Tensor,
    v: Tensor,
    vv: Tensor,
}

impl FlowNet {
    /// The moments of X_t at `times`.
    pub(crate) fn moments(&self, times: &[f64]) -> Moments {
        let [(m0, v0), (m1, v1)] = &self.ends;
        let ways: Vec<Way> = times.iter().map(|t| self.bridge.at(*t, self.start())).collect();
        let [a, c, aa, cc, a2, c2, n2, a_aa, c_cc, n_nn] = columns(
            &ways,
            [
                |w| w.a.0,
                |w| w.c.0,
                |w| w.a.1,
                |w| w.c.1,
                |w| w.a.0 * w.a.0,
                |w| w.c.0 * w.c.0,
                |w| w.n.0 * w.n.0,
                |w| w.a.0 * w.a.1,
                |w| w.c.0 * w.c.1,
                |w| w.n.0 * w.n.1,
            ],
            m1,
        );
        Moments {
            m: m0 * a + m1 * c,
            mm: m0 * aa + m1 * cc,
            v: v0 * a2 + v1 * c2 + n2,
            vv: (v0 * a_aa + v1 * c_cc + n_nn) * 2.0,
        }
    }

    /// U_θ at rows with times of their own, t `[n or 1, 1]` with `moments` at the same times: `[n]`.
    pub(crate) fn energy_at(&self, moments: &Moments, t: &Tensor, x: &Tensor) -> Tensor {
        let Some(net) = &self.energy else { return x.select(1, 0).full_like(f64::NAN) };
        let well = (x - &moments.m).square() / (&moments.v * 2.0);
        let norm = (&moments.v * (2.0 * std::f64::consts::PI)).log() * 0.5;
        (well + norm).sum_dim_intlist(-1, false, None::<Kind>) + net.forward(x, t).squeeze_dim(-1)
    }

    /// ∂_t of the Gaussian part of U_θ at fixed x, `[n]`; the network's own part comes by autograd.
    pub(crate) fn well_rate(&self, moments: &Moments, x: &Tensor) -> Tensor {
        let away = x - &moments.m;
        let relative = &moments.vv / (&moments.v * 2.0);
        let each = &relative - &away * &moments.mm / &moments.v - away.square() * &relative / &moments.v;
        each.sum_dim_intlist(-1, false, None::<Kind>)
    }

    /// The network's output at t `[n or 1, 1]` without the Gaussian part, for its derivative in t.
    pub(crate) fn energy_net(&self) -> Option<&TimeMlp> {
        self.energy.as_ref()
    }

    /// The velocity network, where there is one.
    pub(crate) fn velocity_net(&self) -> Option<&TimeMlp> {
        self.velocity.as_ref()
    }

    /// b_θ from its network at rows with times of their own.
    pub(crate) fn velocity_at(&self, net: &TimeMlp, moments: &Moments, t: &Tensor, x: &Tensor) -> Tensor {
        (x - &moments.m) * (&moments.vv / (&moments.v * 2.0)) + &moments.mm + net.forward(x, t)
    }

    /// A score that is a vector field, at rows with times of their own; `None` for an energy.
    pub(crate) fn score_at(&self, moments: &Moments, t: &Tensor, x: &Tensor) -> Option<Tensor> {
        self.score.as_ref().map(|net| (&moments.m - x) / &moments.v + net.forward(x, t))
    }

    /// Rows in the flow's own kind.
    fn own(&self, x: &Tensor) -> Tensor {
        floats(x, self.dim(), self.kind).to_kind(self.kind)
    }

    /// A single time as a tensor, with the moments there.
    fn now(&self, t: f64) -> (Moments, Tensor) {
        (self.moments(&[t]), rows(&[t], &self.ends[1].0))
    }

    /// U and ∇U at x, differentiable in x (and θ) where `deep`.
    fn slope(&self, t: f64, x: &Tensor, deep: bool) -> (Tensor, Tensor) {
        let (moments, time) = self.now(t);
        if let Some(s) = self.score_at(&moments, &time, x) {
            return (x.select(1, 0).full_like(f64::NAN), -s);
        }
        let leaf = if deep { x.shallow_clone() } else { x.detach() };
        let leaf = if leaf.requires_grad() { leaf } else { leaf.set_requires_grad(true) };
        tch::with_grad(|| {
            let u = self.energy_at(&moments, &time, &leaf);
            let g = Tensor::run_backward(&[u.sum(u.kind())], &[&leaf], deep, deep).swap_remove(0);
            if deep { (u, g) } else { (u.detach(), g) }
        })
    }
}

impl Path for FlowNet {
    fn base(&self) -> &dyn Base {
        match &self.base {
            Origin::Noise(g) => g,
            Origin::Points(m) => m,
        }
    }

    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        let (x, (moments, time)) = (&self.own(x), self.now(t));
        self.energy_at(&moments, &time, x)
    }

    fn evaluate(&self, t: f64, x: &Tensor) -> Evaluation {
        let x = &self.own(x);
        let (u, grad) = self.slope(t, x, false);
        Evaluation::new(x.shallow_clone(), u, grad.detach())
    }

    fn weighable(&self) -> Result<()> {
        if self.energy.is_some() {
            return Ok(());
        }
        let expected = "an energy (`Score::Energy`): a weight is U_k(x) − U_{k+1}(y) + …, and a vector field that is no \
                        gradient has no U. `Transport::plain` generates without weights";
        Err(Error::param("score", "field", expected))
    }
}

impl Differentiable for FlowNet {}

impl Flow for FlowNet {
    fn velocity(&self, t: f64, x: &Tensor) -> Tensor {
        let (x, (moments, time)) = (&self.own(x), self.now(t));
        if let Some(net) = &self.velocity {
            return self.velocity_at(net, &moments, &time, x);
        }
        let (_, grad) = self.slope(t, x, x.requires_grad());
        self.drift_of_score(t, x, &grad)
    }

    fn linearise(&self, t: f64, x: &Tensor) -> (Tensor, Tensor) {
        self.tangents(t, &self.own(x), None)
    }

    fn push(&self, t: f64, x: &Tensor, tangents: &Tensor) -> (Tensor, Tensor) {
        self.tangents(t, &self.own(x), Some(&tangents.to_kind(self.kind)))
    }

    fn arrive(&self, t: f64, x: &Tensor) -> Evaluation {
        let point = self.evaluate(t, x);
        let (x, b) = (&point.x, &self.velocity);
        let b = match b {
            Some(_) => no_grad(|| self.velocity(t, x)),
            None => self.drift_of_score(t, x, point.grad()),
        };
        point.with_drift(b)
    }
}

impl FlowNet {
    /// b = (ċ/c) x + (ċN²/c − NṄ) s, from E(x₁ | x) = (x + N² s)/c and E(ζ | x) = −N s.
    fn drift_of_score(&self, t: f64, x: &Tensor, grad: &Tensor) -> Tensor {
        let w = self.bridge.at(t, self.start());
        let along = w.c.1 / w.c.0;
        x * along - grad * (along * w.n.0 * w.n.0 - w.n.0 * w.n.1)
    }

    /// b and J_b · tangents (J_b itself for none), in forward mode through the velocity network.
    fn tangents(&self, t: f64, x: &Tensor, tangents: Option<&Tensor>) -> (Tensor, Tensor) {
        let Some(net) = &self.velocity else {
            let (b, j) = vector_products(x, |x| self.velocity(t, x));
            return (b, tangents.map_or_else(|| j.shallow_clone(), |v| j.matmul(v)));
        };
        no_grad(|| {
            let (moments, time) = self.now(t);
            let stretch = &moments.vv / (&moments.v * 2.0);
            let (g, j) = net.push(x, &time, tangents);
            let b = (x - &moments.m) * &stretch + &moments.mm + g;
            let linear = match tangents {
                Some(v) => v * stretch.unsqueeze(-1),
                None => stretch.squeeze_dim(0).diag(0).unsqueeze(0),
            };
            (b, j + linear)
        })
    }
}

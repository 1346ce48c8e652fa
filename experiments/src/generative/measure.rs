//! Measure a trained model: its likelihood on held-out rows, draws, its density in the plane.

use super::methods::Bench;
use jarzynski::density::{Base, Energy};
use jarzynski::model::Mixture;
use jarzynski::tch::{self, Device, Kind, Tensor};
use jarzynski::walkers::Walkers;
use jarzynski::{Estimate, Result, Rng};

/// Cells of a picture along each axis, and where they end.
pub(super) const CELLS: i64 = 72;
pub(super) const EDGE: f64 = 3.6;
/// Points of the quadrature along each axis, and where they end.
const POINTS: i64 = 321;
const FAR: f64 = 10.0;

/// What is known of a trained model.
#[derive(Debug)]
pub(super) struct Fitted {
    /// Mean log-density of the held-out rows and how it was found; NaN where there is none.
    pub log_lik: Estimate,
    pub kind: &'static str,
    /// Draws with weights, which sum to 1.
    pub x: Tensor,
    pub w: Tensor,
    /// The same of equal weight.
    pub samples: Tensor,
    pub seconds: f64,
    pub parameters: usize,
    /// In the plane: the density at the centres of [`CELLS`]² cells, the first row at the lowest y.
    pub picture: Vec<f64>,
    /// In the plane, where log Z was found by quadrature and by weights: their distance in standard errors of the latter.
    pub log_z_gap: f64,
    /// What else was measured.
    pub note: Option<String>,
}

/// The centres of the cells of a square of side 2 `edge`, `[n², 2]`.
pub(super) fn grid(n: i64, edge: f64) -> Tensor {
    let axis = (Tensor::arange(n, (Kind::Double, Device::Cpu)) + 0.5) * (2.0 * edge / n as f64) - edge;
    // x runs faster
    Tensor::stack(&[axis.repeat([n]), axis.repeat_interleave_self_int(n, 0, None)], 1)
}

/// A function of rows, a few thousand at a time.
pub(super) fn in_parts(x: &Tensor, f: &dyn Fn(&Tensor) -> Tensor) -> Tensor {
    let _guard = tch::no_grad_guard();
    let parts: Vec<Tensor> = x.split(8_192, 0).iter().map(|x| f(x).to_kind(Kind::Double)).collect();
    Tensor::cat(&parts, 0)
}

impl Bench<'_> {
    /// A fresh sample of the data's own distribution, measured as a model.
    pub fn data(&self) -> Result<Fitted> {
        let p = self.problem;
        let of = |exact: &Mixture, x: &Tensor| {
            let z = Base::log_z(exact);
            in_parts(x, &|x| -exact.energy(&x.to_kind(Kind::Double)) - z)
        };
        let log_lik = match &p.exact {
            Some(exact) => (p.over_test(&of(exact, &p.test)), "exact"),
            None => (Estimate::new(f64::NAN, f64::NAN), "none"),
        };
        let fitted = self.drawn(p.fresh.shallow_clone(), log_lik, (0.0, 0));
        let picture = match p.exact.as_ref().filter(|_| p.planar()) {
            Some(exact) => Vec::try_from(of(exact, &grid(CELLS, EDGE).to_device(p.train.device())).exp())?,
            None => vec![],
        };
        Ok(Fitted { picture, ..fitted })
    }

    /// Of an energy and weighted walkers that are exact for it.
    pub fn weighed(
        &self,
        energy: &dyn Fn(&Tensor) -> Tensor,
        walkers: &Walkers,
        (seconds, parameters): (f64, usize),
    ) -> Result<Fitted> {
        let (p, found) = (self.problem, walkers.log_z());
        let rows = |t: Tensor| t.to_kind(Kind::Float).to_device(p.train.device());
        let planar = p.planar().then(|| {
            let u = in_parts(&rows(grid(POINTS, FAR)), energy);
            (-u).logsumexp(0, false).double_value(&[]) + 2.0 * (2.0 * FAR / POINTS as f64).ln()
        });
        let z = planar.map_or(found, |z| Estimate::new(z, 0.0));
        let on_test = p.over_test(&-in_parts(&p.test, energy));
        let picture = planar.map(|z| (-in_parts(&rows(grid(CELLS, EDGE)), energy) - z).exp());
        Ok(Fitted {
            log_lik: Estimate::new(on_test.value - z.value, on_test.se.hypot(z.se)),
            kind: if planar.is_some() { "exact" } else { "AIS" },
            x: walkers.x().shallow_clone(),
            w: walkers.weights(),
            samples: walkers.samples(self.setting.draws, &mut Rng::new(self.seed).split(0x5a)),
            seconds,
            parameters,
            picture: picture.map_or(Ok(vec![]), Vec::try_from)?,
            log_z_gap: planar.map_or(f64::NAN, |z| (found.value - z) / found.se),
            note: None,
        })
    }

    /// Of draws of equal weight, with a log-likelihood that is known otherwise.
    pub fn drawn(
        &self,
        x: Tensor,
        (log_lik, kind): (Estimate, &'static str),
        (seconds, parameters): (f64, usize),
    ) -> Fitted {
        let n = x.size()[0];
        let w = Tensor::full([n], 1.0 / n as f64, (Kind::Double, x.device()));
        let samples = x.shallow_clone();
        Fitted { log_lik, kind, x, w, samples, seconds, parameters, picture: vec![], log_z_gap: f64::NAN, note: None }
    }

    /// The density of many draws, by counting.
    pub fn counted(&self, draw: impl Fn(usize, &mut Rng) -> Tensor) -> Result<Vec<f64>> {
        if !self.problem.planar() {
            return Ok(vec![]);
        }
        let n = 50_000;
        let cell = 2.0 * EDGE / CELLS as f64;
        let at = ((draw(n, &mut Rng::new(self.seed).split(0x9c)).to_kind(Kind::Double) + EDGE) / cell).floor();
        let inside = at.ge(0.0).logical_and(&at.lt(CELLS as f64)).all_dim(1, false);
        let at = at.index_select(0, &inside.nonzero().squeeze_dim(1)).to_kind(Kind::Int64);
        let place = at.select(1, 1) * CELLS + at.select(1, 0);
        let counts = place.bincount(None::<Tensor>, CELLS * CELLS).to_kind(Kind::Double);
        Ok(Vec::try_from(counts / (n as f64 * cell * cell))?)
    }
}

//! Hold a kernel to its contract: exact averages under a moving target, and a wrong weight that must be noticed.

use crate::density::{At, Base, Differentiable, Energy, Evaluation, Flow, Path};
use crate::display::{Html, escape, show};
use crate::error::{Error, Result, guard};
use crate::io::frame::Rows;
use crate::kernel::{EvalCounts, Kernel};
use crate::model::Gaussian;
use crate::numeric::Rng;
use crate::walkers::Walkers;
use polars::prelude::DataFrame;
use tch::{Kind, Tensor};

/// The target of [`check_kernel`]: N(m_t, s_t² I) in two dimensions, m from 0 to .8 and s from 1 to .75, not normalised.
///
/// As a flow it has a velocity that is wrong in both its parts: any b leaves weights exact.
#[derive(Debug)]
pub struct Drifting {
    base: Gaussian,
}

const D: i64 = 2;
const PLACE: f64 = 0.8;
const WIDTH: f64 = 0.75;

impl Drifting {
    fn new() -> Result<Self> {
        Ok(Drifting { base: Gaussian::new(&[0.0; D as usize], &[1.0; D as usize])? })
    }

    fn at(t: f64) -> (f64, f64) {
        (PLACE * t, 1.0 + t * (WIDTH - 1.0))
    }
}

impl Path for Drifting {
    fn base(&self) -> &dyn Base {
        &self.base
    }
    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        let (m, s) = Self::at(t);
        ((x - m) / s).square().sum_dim_intlist(-1, false, None::<Kind>) * 0.5
    }
    fn evaluate(&self, t: f64, x: &Tensor) -> Evaluation {
        let (m, s) = Self::at(t);
        Evaluation::new(x.shallow_clone(), self.energy(t, x), (x - m) / (s * s))
    }
}

impl Differentiable for Drifting {}

impl Flow for Drifting {
    fn velocity(&self, t: f64, x: &Tensor) -> Tensor {
        let (m, s) = Self::at(t);
        (x - m) * (0.5 * (WIDTH - 1.0) / s) + 0.7 * PLACE
    }
}

/// What [`check_kernel`] found.
#[derive(Debug)]
pub struct Contract {
    /// One row per claim: `claim, measured, wanted, kept` (1 or 0).
    pub table: DataFrame,
    /// Whether every claim was kept.
    pub kept: bool,
    /// The claims that were not, in words.
    pub broken: Vec<String>,
}

impl Contract {
    /// Called by evcxr.
    pub fn evcxr_display(&self) {
        let (colour, text) = match self.kept {
            true => ("#009e73", "The contract is kept.".to_string()),
            false => ("#d55e00", format!("The contract is broken: {}.", self.broken.join("; "))),
        };
        let style = format!("border-left:.3em solid {colour};padding:.1em .6em;margin:.2em 0");
        let table = show(&self.table);
        let html = format!("<div style=\"{style}\"><b>{}</b></div>{}", escape(&text), table.html);
        Html { html, text: format!("{text}\n{}", table.text) }.evcxr_display();
    }
}

const N: usize = 40_000;
const STEPS: usize = 20;

/// At which parameters the backward half is asked.
#[derive(Clone, Copy, PartialEq)]
enum Weight {
    Right,
    /// λ at θ_k instead of θ_{k+1}: the mistake that a weight must not survive.
    Shifted,
}

fn walk<K: for<'a> Kernel<At<'a, Drifting>>>(
    kernel: &K,
    path: &Drifting,
    weight: Weight,
    seed: u64,
) -> Result<Walkers> {
    guard(|| {
        let mut rng = Rng::new(seed);
        let mut walkers = Walkers::start_from(path.base(), &At::new(path, 0.0), N, false, &mut rng)?;
        for k in 0..STEPS {
            let (now, next) = At::step(path, k as f64 / STEPS as f64, (k + 1) as f64 / STEPS as f64);
            let mv = kernel.forward(&now, walkers.evaluation(), &mut rng);
            let alpha = mv.alpha.shallow_clone();
            let at = if weight == Weight::Right { &next } else { &now };
            let arrival = kernel.backward(at, walkers.evaluation(), mv, &mut rng);
            let point = if weight == Weight::Right { arrival.evaluation } else { next.evaluate(&arrival.evaluation.x) };
            for (name, t) in [("alpha", &alpha), ("lambda", &arrival.lambda)] {
                if t.size() != [N as i64] || t.kind() != Kind::Double {
                    let expected = format!("[{N}] in f64: a weight for each walker");
                    return Err(Error::Shape { name, got: t.size(), expected });
                }
            }
            walkers.commit(point, &alpha, &arrival.lambda);
        }
        Ok(walkers)
    })
}

/// log Ẑ, E|x − m|² and E x_0 against the closed form, in standard errors; the farthest.
fn farthest(walkers: &Walkers) -> Result<f64> {
    let d = D as f64;
    let exact = d * (WIDTH * (2.0 * std::f64::consts::PI).sqrt()).ln();
    let z = walkers.log_z();
    let spread = walkers.mean(&(walkers.x() - PLACE).square().sum_dim_intlist(-1, false, None::<Kind>))?;
    let place = walkers.mean(&walkers.x().select(1, 0))?;
    let scores = [
        (z.value - exact) / z.se.max(1e-12),
        (spread.value - d * WIDTH * WIDTH) / spread.se.max(1e-12),
        (place.value - PLACE) / place.se.max(1e-12),
    ];
    Ok(scores.iter().fold(0.0, |w: f64, z| if z.is_nan() { f64::INFINITY } else { w.max(z.abs()) }))
}

/// Root mean square of one step's weight increment at fixed θ.
fn increment<K: for<'a> Kernel<At<'a, Drifting>>>(kernel: &K, path: &Drifting) -> Result<f64> {
    guard(|| {
        let (u, mut rng) = (At::new(path, 0.5), Rng::new(31));
        let (m, s) = Drifting::at(0.5);
        let x = rng.normal(&[N as i64, D], Kind::Double, tch::Device::Cpu) * s + m;
        let step = kernel.step(&u, &u.evaluate(&x), &mut rng);
        Ok(step.increment.square().mean(Kind::Double).double_value(&[]).sqrt())
    })
}

/// Slope of log y against log x with its standard error.
fn slope(x: &[f64], y: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    let (x, y): (Vec<f64>, Vec<f64>) = (x.iter().map(|v| v.ln()).collect(), y.iter().map(|v| v.ln()).collect());
    let (mx, my) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let sxx: f64 = x.iter().map(|v| (v - mx).powi(2)).sum();
    let b = x.iter().zip(&y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>() / sxx;
    let rest: f64 = x.iter().zip(&y).map(|(x, y)| (y - my - b * (x - mx)).powi(2)).sum();
    (b, (rest / (n - 2.0) / sxx).sqrt())
}

/// Checks a kernel of your own, `family(h)`, at the step h: 20 steps of 40,000 walkers under a target that moves and narrows.
///
/// - *exact*: log Ẑ, the mean and the spread are within 5 standard errors of their closed forms. It holds for any α and λ of
///   normalised densities, however bad the kernel moves.
/// - *a wrong weight is noticed*: the same kernel with λ taken at θ_k must be off by more than 5: the reject twin, without which
///   the first claim would prove nothing.
/// - *order*: at fixed θ the increment falls as a power of h above ½, so that weights vanish as steps shrink; a kernel that
///   leaves ρ invariant has none at all.
/// - *same seed, same bits*, and *costs*: evaluations are declared.
///
/// ```
/// use jarzynski::{Mala, Reversed, Ula, check_kernel};
/// # fn main() -> jarzynski::Result<()> {
/// assert!(check_kernel(Ula::new, 0.1)?.kept);
/// assert!(check_kernel(|h| Reversed::new(Mala::new(h)), 0.2)?.kept);
/// # Ok(()) }
/// ```
///
/// Errors: a kernel that refuses the step, panics, or returns weights of the wrong shape.
pub fn check_kernel<K, F>(family: F, h: f64) -> Result<Contract>
where
    F: Fn(f64) -> K,
    K: for<'a> Kernel<At<'a, Drifting>>,
{
    let path = Drifting::new()?;
    let kernel = family(h);
    kernel.validate()?;
    let start = guard(|| Ok(At::new(&path, 0.0).evaluate(&path.base().sample(64, &mut Rng::new(1)))))?;
    kernel.check(&At::new(&path, 0.0), &start)?;
    let (mut rows, mut broken) = (Rows::new(&["claim", "measured", "wanted", "kept"]), Vec::new());
    let mut claim = |what: &str, measured: String, wanted: &str, kept: bool| {
        rows.push((what, &measured, wanted, if kept { "yes" } else { "no" }));
        if !kept {
            broken.push(format!("{what}: {measured}, wanted {wanted}"));
        }
    };
    let right = walk(&kernel, &path, Weight::Right, 11)?;
    let z = farthest(&right)?;
    claim("exact under a moving target", format!("{z:.1} standard errors off"), "at most 5", z < 5.0);
    let ess = right.ess();
    claim("the check can tell", format!("ESS/N {ess:.3}"), "above .05: a smaller h", ess > 0.05);
    let twin = farthest(&walk(&kernel, &path, Weight::Shifted, 11)?)?;
    claim("a wrong weight is noticed", format!("{twin:.1} standard errors off"), "more than 5", twin > 5.0);
    let steps: Vec<f64> = (0..5).map(|i| h / 2f64.powi(i)).collect();
    let rms = steps.iter().map(|h| increment(&family(*h), &path)).collect::<Result<Vec<_>>>()?;
    if rms.iter().all(|r| *r < 1e-12) {
        claim("order at fixed θ", "no increment: ρ is left invariant".into(), "above h^.5, or none", true);
    } else {
        let (p, se) = slope(&steps, &rms);
        claim("order at fixed θ", format!("h^{p:.2} ± {se:.2}"), "above h^.5, or none", p - 5.0 * se > 0.5 || p > 0.9);
    }
    let again = walk(&kernel, &path, Weight::Right, 11)?;
    let same = right.x().equal(again.x()) && right.log_weights().equal(again.log_weights());
    claim("same seed, same bits", if same { "the same" } else { "others" }.into(), "the same", same);
    let other = walk(&kernel, &path, Weight::Right, 12)?;
    let differs = !right.x().equal(other.x());
    claim("another seed, other bits", if differs { "others" } else { "the same" }.into(), "others", differs);
    let cost = guard(|| {
        let (now, next) = At::step(&path, 0.0, 0.1);
        let mut rng = Rng::new(2);
        let mv = kernel.forward(&now, &start, &mut rng);
        let mut cost = mv.cost;
        cost += kernel.backward(&next, &start, mv, &mut rng).cost;
        Ok(cost)
    })?;
    let declared = format!("{} forward, {} backward for 64 walkers", cost.forward, cost.backward);
    claim("evaluations are declared", declared, "at least one", cost != EvalCounts::default());
    let kept = broken.is_empty();
    Ok(Contract { table: rows.finish()?, kept, broken })
}

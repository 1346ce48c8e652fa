//! Run a transport in both directions: a bracket for log Z, and Bennett's acceptance ratio between its ends.

use super::Transport;
use super::procedure::Along;
use crate::density::{At, Model, Path, check_rows, log_prob};
use crate::error::{Error, Result};
use crate::io::frame::mean_se;
use crate::kernel::Kernel;
use crate::model::Tempered;
use crate::numeric::Rng;
use crate::run::{Checkpointing, Driver, Outcome, Run};
use crate::walkers::{Bar, Estimate, bar};
use tch::{Device, Kind, Tensor};

/// Where reverse runs begin: draws of the path's end ρ_1, `[n, d]`, and how far they are known to be in equilibrium.
///
/// A reverse run is an upper bound only from draws of ρ_1 itself. From data, from training walkers or from any other start it
/// bounds nothing.
#[derive(Debug)]
pub struct ReverseStart {
    x: Tensor,
    /// The same chains at half of their time.
    earlier: Option<Tensor>,
    exact: bool,
    round_trips: Option<f64>,
}

impl ReverseStart {
    /// Independent exact draws: of a closed form, or synthetic data of a known distribution.
    pub fn exact(x: &Tensor) -> Self {
        ReverseStart { x: x.shallow_clone(), earlier: None, exact: true, round_trips: None }
    }

    /// Chains that are independent of each other, one row each: where they are, and where they were at half of their time. The
    /// reverse run is made from both, and [`Bracket::drift`] is the difference.
    pub fn chains(x: &Tensor, halfway: &Tensor) -> Self {
        ReverseStart { x: x.shallow_clone(), earlier: Some(halfway.shallow_clone()), exact: false, round_trips: None }
    }

    /// Draws of which nothing is known: the upper end and BAR carry the warning `equilibration`.
    pub fn unchecked(x: &Tensor) -> Self {
        ReverseStart { x: x.shallow_clone(), earlier: None, exact: false, round_trips: None }
    }

    /// The rows.
    pub fn x(&self) -> &Tensor {
        &self.x
    }

    /// The rows, and those at half of the time where there are any.
    pub(super) fn all(&self) -> impl Iterator<Item = &Tensor> {
        [&self.x].into_iter().chain(&self.earlier)
    }
}

/// The chains of the model, with their states at half of the rounds and the number of round trips.
impl From<&Tempered> for ReverseStart {
    fn from(drawn: &Tempered) -> Self {
        ReverseStart { round_trips: Some(drawn.round_trips), ..ReverseStart::chains(&drawn.v, &drawn.halfway) }
    }
}

/// log Z between two estimates that are, in expectation, on either side of it; the result of [`Transport::bracket`] and
/// [`Ais::bracket`](crate::Ais::bracket).
///
/// Forward paths start in ρ_0 and move by the kernel's forward density, reverse ones start in ρ_1 and move by its backward
/// density. With the same log-weight A on both, p_F(A) e^A = (Z_1/Z_0) p_R(A) (Crooks): the two histograms of A cross at
/// log Z_1/Z_0, and
///
/// ```text
/// E log mean_F e^A  ≤  log Z_1/Z_0  ≤  E −log mean_R e^{−A}
/// ```
///
/// The two ends fail in opposite ways: a mode that no forward walker enters is missing from the lower one, while reverse walkers
/// start in it. The upper one holds as far as the reverse start is in equilibrium, which [`drift`](Bracket::drift) tests.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Bracket {
    /// log Z_0 + log mean_F e^A, nats: low by about half its variance.
    pub lower: Estimate,
    /// log Z_0 − log mean_R e^{−A}, nats: high by about half its variance.
    pub upper: Estimate,
    /// Bennett's acceptance ratio of both, nats: the estimate to use. Its warning is `overlap` where the log-weights of the two
    /// directions hardly overlap, `equilibration` where the reverse start is not in equilibrium or not known to be: a drift above
    /// three standard errors, a lower end as far above the upper one, too few round trips, a start that is unchecked.
    pub bar: Estimate,
    /// How far the log-weights of the two directions overlap, in [0, 1]; see [`Bar::overlap`].
    pub overlap: f64,
    /// The upper end from the reverse start less that from the same chains at half of their time, nats: 0 within its error where
    /// they are in equilibrium, up to what neither has visited. `None` for starts of another kind.
    pub drift: Option<Estimate>,
    /// Round trips per chain of the tempering that the reverse start comes from. With fewer than one the start has the warning
    /// `equilibration`, whatever the drift.
    pub round_trips: Option<f64>,
    /// A on the forward paths.
    pub forward: Vec<f64>,
    /// A, not −A, on the reverse paths.
    pub reverse: Vec<f64>,
    /// log Z_0, so that the histograms cross at log Z − `log_z0`.
    pub log_z0: f64,
}

impl Bracket {
    /// E_F A + log Z_0, the evidence lower bound (ELBO), nats: looser than [`lower`](Bracket::lower), with an error bar that no rare
    /// weight decides. −∞ where a forward path ends at zero density.
    pub fn elbo(&self) -> Estimate {
        self.mean_of(&self.forward)
    }

    /// E_R A + log Z_0, the evidence upper bound (EUBO), nats: looser than [`upper`](Bracket::upper). EUBO − log Z is the
    /// Kullback-Leibler divergence of reverse from forward paths, which a mode that forward paths miss makes large.
    pub fn eubo(&self) -> Estimate {
        let eubo = self.mean_of(&self.reverse);
        eubo.doubted(self.upper.warning)
    }

    fn mean_of(&self, a: &[f64]) -> Estimate {
        let (mean, se) = mean_se(a);
        Estimate::new(self.log_z0 + mean, se)
    }

    /// ESS/N of the forward paths, (mean w)²/mean w², w = e^A; in the literature on samplers the *reverse* ESS. It sees only what
    /// these paths have visited: near 1 also where they miss modes.
    pub fn ess(&self) -> f64 {
        let [first, second] = [1.0, 2.0].map(|p| log_mean_exp(&self.forward, p));
        (2.0 * first - second).exp()
    }

    /// The same fraction by the reverse paths, 1/(mean_R w · mean_R 1/w), since E_F w² = (Z_1/Z_0) E_R w; in the literature the
    /// *forward* ESS (Blessing et al. 2024, arXiv 2406.07423). Its paths start from draws of the target in all of its modes: near 0
    /// where forward paths miss some.
    ///
    /// ```
    /// use jarzynski::transport::ReverseStart;
    /// use jarzynski::{Escorted, Rng, Base, Transport, model::Interpolant};
    /// # fn main() -> jarzynski::Result<()> {
    /// let path = Interpolant::new(&[vec![-2.0, 0.0], vec![2.0, 1.0]], &[0.3, 0.7], &[0.5, 0.7])?;
    /// let exact = path.target()?.sample(1_000, &mut Rng::new(1));
    /// let found = Transport::new(Escorted::new(0.5), 32, 1_000, 0).quiet().bracket(&path, &ReverseStart::exact(&exact))?;
    /// println!("ESS/N {:.2} and, by draws, {:.2}; log Z in [{}, {}]", found.ess(), found.ess_by_draws(), found.elbo(), found.eubo());
    /// # Ok(()) }
    /// ```
    pub fn ess_by_draws(&self) -> f64 {
        (-log_mean_exp(&self.reverse, 1.0) - log_mean_exp(&self.reverse, -1.0)).exp()
    }

    /// The mean log-likelihood of rows x, nats, with the three estimates of log Z: its lower end has the upper end of log Z.
    ///
    /// # Errors
    /// Rows of the wrong width, not finite, or outside the model's support.
    pub fn log_likelihood<M: Model>(&self, model: &M, x: &Tensor) -> Result<Bracket> {
        let minus_u = log_prob(model, x, 0.0)?.mean(Kind::Double).double_value(&[]);
        let less = |z: &Estimate| Estimate { value: minus_u - z.value, ..*z };
        Ok(Bracket { lower: less(&self.upper), upper: less(&self.lower), bar: less(&self.bar), ..self.clone() })
    }
}

/// `213.42 ± 0.05, between 213.31 ± 0.11 and 213.50 ± 0.08`.
impl std::fmt::Display for Bracket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, between {} and {}", self.bar, self.lower, self.upper)?;
        self.drift.map_or(Ok(()), |drift| write!(f, "; drift of the reverse start {drift}"))
    }
}

/// Joint standard errors by which two halves of the chains may differ, and the lower end may be above the upper one, before the
/// start counts as not in equilibrium.
const FAR: f64 = 3.0;

/// Log-weights of walkers, on the host.
fn log_weights(run: &Run) -> Result<Vec<f64>> {
    Ok(Vec::try_from(run.walkers.log_weights().to_device(Device::Cpu))?)
}

fn finished(run: Run) -> Result<Run> {
    match &run.outcome {
        Outcome::Finished => Ok(run),
        Outcome::Diverged { step, cause } | Outcome::Paused { step, cause } => {
            let place = format!("in the {} run at step {step}: {cause}", run.label);
            Err(Error::NonFinite { what: "energy", place })
        }
    }
}

impl<K> Transport<K> {
    /// From `start`, draws of ρ_1, down to t = 0: walkers move by the kernel's backward density
    /// ([`Kernel::reverse`]) and carry −A of the path from x_0 to x_K that they describe, A_0 = U_base − U_0 included. Then
    /// E e^{−A} = Z_0/Z_1, and the run's log Ẑ is log Z_0/Z_1. The number of walkers is that of the rows.
    ///
    /// # Errors
    /// As [`run`](Transport::run); a kernel that cannot be drawn from backwards; resampling or a run without weights, with which
    /// there is no A of a whole path; draws of which one has no density in ρ_1.
    pub fn reverse<P: Path>(&self, path: &P, start: &Tensor) -> Result<Run>
    where
        K: for<'a> Kernel<At<'a, P>>,
    {
        self.reverse_as("reverse", path, start)
    }

    fn reverse_as<P: Path>(&self, label: &'static str, path: &P, start: &Tensor) -> Result<Run>
    where
        K: for<'a> Kernel<At<'a, P>>,
    {
        self.kernel.validate()?;
        self.whole_paths()?;
        let base = path.base().sample(1, &mut Rng::new(0));
        check_rows("reverse start", start, base.size()[1])?;
        let start = start.detach().to_kind(base.kind()).to_device(base.device());
        let mut of = self.by_ref();
        of.walkers = start.size()[0] as usize;
        let down = Along::down(of, label, &start)?;
        Driver::open(Box::new(down), path, self.checkpointing.as_ref())?.complete(&mut |_| Vec::new())
    }

    fn whole_paths(&self) -> Result<()> {
        if let Some(over) = &self.over {
            let expected = "one process: reverse runs and brackets are not spread over ranks";
            return Err(Error::param("over", format!("{:?}", over.world), expected));
        }
        if self.ess_min > 0.0 {
            return Err(Error::param("ess_min", self.ess_min, "0: resampling leaves no log-weight of a whole path"));
        }
        if let Some(chain) = self.chain {
            return Err(Error::param("chain", chain, "none: resampling leaves no log-weight of a whole path"));
        }
        if !self.weighted {
            return Err(Error::param("weighted", false, "a transport with weights: both directions compare them"));
        }
        Ok(())
    }

    /// Runs in both directions: log Z_1 from below, from above, and by BAR. The reverse run has as many walkers as `start` has
    /// rows. With checkpointing the runs are in the folders `forward`, `reverse` and `reverse-halfway`.
    ///
    /// ```
    /// use jarzynski::transport::ReverseStart;
    /// use jarzynski::{Base, Escorted, Rng, Transport, model::Interpolant};
    /// # fn main() -> jarzynski::Result<()> {
    /// let path = Interpolant::new(&[vec![-2.0, 0.0], vec![2.0, 1.0]], &[0.3, 0.7], &[0.5, 0.7])?;
    /// let exact = path.target()?.sample(1_000, &mut Rng::new(1));
    /// let found = Transport::new(Escorted::new(0.5), 32, 1_000, 0).quiet().bracket(&path, &ReverseStart::exact(&exact))?;
    /// assert!((found.bar.value / found.bar.se).abs() < 5.0 && found.overlap > 0.3, "{found}");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`reverse`](Transport::reverse), and a run that diverges.
    pub fn bracket<P: Path>(&self, path: &P, start: &ReverseStart) -> Result<Bracket>
    where
        K: for<'a> Kernel<At<'a, P>>,
    {
        self.bracket_as(["forward", "reverse", "reverse-halfway"], path, start)
    }

    /// As [`bracket`](Transport::bracket), with names for its three runs.
    pub(super) fn bracket_as<P: Path>(
        &self,
        [forward, reverse, halfway]: [&'static str; 3],
        path: &P,
        start: &ReverseStart,
    ) -> Result<Bracket>
    where
        K: for<'a> Kernel<At<'a, P>>,
    {
        self.whole_paths()?;
        let within = |name: &str| {
            let mut of = self.by_ref();
            of.checkpointing =
                self.checkpointing.as_ref().map(|c| Checkpointing { dir: c.dir.join(name), ..c.clone() });
            of
        };
        // the reverse run first: it refuses more
        let down = finished(within("reverse").reverse_as(reverse, path, &start.x)?)?;
        let earlier = match &start.earlier {
            Some(x) => Some(finished(within("reverse-halfway").reverse_as(halfway, path, x)?)?),
            None => None,
        };
        let up = finished(within("forward").run_as(forward, path, &mut |_| Vec::new())?)?;
        Bracket::of(&up, &down, earlier.as_ref(), start, path.base().log_z())
    }
}

impl Bracket {
    fn of(up: &Run, down: &Run, earlier: Option<&Run>, start: &ReverseStart, log_z0: f64) -> Result<Bracket> {
        let estimate = |run: &Run| run.log_z().unwrap_or(Estimate::new(f64::NAN, f64::NAN));
        let (lower, ratio) = (estimate(up), estimate(down));
        let (forward, minus) = (log_weights(up)?, log_weights(down)?);
        let reverse: Vec<f64> = minus.iter().map(|a| -a).collect();
        let Bar { log_ratio, overlap, .. } = bar(&forward, &reverse)?;
        let mut far = Vec::new();
        let mut drift = None;
        if let Some(earlier) = earlier {
            let before = earlier.walkers.log_z();
            let moved = Estimate::new(before.value - ratio.value, before.se.hypot(ratio.se));
            // the mean of A is known better than that of e^{−A}, which few walkers may rule
            let ((now, now_se), (then, then_se)) = (mean_se(&finite(&minus)), mean_se(&finite(&log_weights(earlier)?)));
            far = vec![moved.value / moved.se, (now - then) / now_se.hypot(then_se)];
            drift = Some(moved);
        }
        // the lower end above the upper one: forward walkers found what the reverse start does not have
        let crossed = (lower.value + ratio.value - log_z0) / lower.se.hypot(ratio.se);
        let unknown = !start.exact && (earlier.is_none() || start.round_trips.is_some_and(|trips| trips < 1.0));
        let doubtful = unknown || crossed > FAR || far.iter().any(|z| z.abs() > FAR);
        let doubt = doubtful.then_some("equilibration");
        let upper = Estimate { value: log_z0 - ratio.value, ..ratio };
        let bar = Estimate { value: log_z0 + log_ratio.value, ..log_ratio };
        let upper = upper.doubted(doubt.or(upper.warning));
        let bar = bar.doubted(doubt.or(bar.warning));
        Ok(Bracket { lower, upper, bar, overlap, drift, round_trips: start.round_trips, forward, reverse, log_z0 })
    }
}

/// log mean e^{pA}.
fn log_mean_exp(a: &[f64], p: f64) -> f64 {
    let top = a.iter().fold(f64::NEG_INFINITY, |top, a| top.max(p * a));
    if top.is_infinite() {
        return top;
    }
    (a.iter().map(|a| (p * a - top).exp()).sum::<f64>() / a.len() as f64).ln() + top
}

fn finite(a: &[f64]) -> Vec<f64> {
    a.iter().copied().filter(|a| a.is_finite()).collect()
}

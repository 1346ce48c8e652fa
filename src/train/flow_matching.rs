//! Learn a flow's velocity and energy from data, guide (121) and (122), one update as in the algorithm box.

use super::batches::Batches;
use super::descent::{at_least_one, non_negative};
use super::minimise::{self, About, Measured, Minimise, Objective, Update};
use super::{FlowSettings, Schedule};
use crate::density::{At, Evaluation, Path, rows_as};
use crate::error::{Error, Result, guard};
use crate::io::Checkpoint;
use crate::io::fingerprint;
use crate::model::FlowNet;
use crate::model::bridge::Drawn;
use crate::numeric::Rng;
use crate::run::{Callback, Checkpointing, Driver, Outcome, Parts, Run, Tally};
use crate::walkers::Walkers;
use std::borrow::Borrow;
use tch::{Kind, Tensor, nn};

/// Trains a [`FlowNet`] by regression on points of a stochastic interpolant; nothing is simulated.
///
/// The loss of one update is the mean over a batch of times, ends and noise of
///
/// ```text
/// ½|b̂|² − (∂_tI + Ṅζ)·b̂                        guide (121)
/// N² (½|ŝ|² + ζ·ŝ/N),  ŝ = −∇U_θ                guide (122), times N²: the same minimiser at each t, bounded terms
/// w N² ½(∂_tU_θ + ∂_t log p(X_t | ends))²        the time score, w = `time_score`/d
/// ```
///
/// (122) sees ∇U only: masses of separated modes are invisible to it, and it would leave e^{−U_θ(1, ·)} with wrong ones. The
/// time score is the same regression for ∂_tU. It ties U_θ(1, ·) to U_θ(0, ·) along each point's own time, which fixes the
/// masses and log Z_t = log Z_0 with them.
///
/// ```
/// use jarzynski::{Escorted, FlowTrainer, Rng, model::{Bridge, FlowNet, FlowShape, Mixture}, transport};
/// # fn main() -> jarzynski::Result<()> {
/// let data = Mixture::new(&[vec![-2.0, 0.0], vec![2.0, 0.0]], &[0.3, 0.7])?.sample(500, &mut Rng::new(1));
/// let mut flow = FlowNet::from_noise(&Bridge::default(), &data, &FlowShape { widths: vec![32], ..Default::default() })?;
/// let run = FlowTrainer::new().steps(20).batch(64).quiet().train(&mut flow, &data)?;
/// assert!(run.finished() && run.walkers.ess() > 0.5);           // the walkers at t = 0
/// let run = transport(Escorted::new(0.5), &flow, 8, 200, 0)?;    // exact for the learned e^{−U(1, ·)}
/// println!("{}", run.summary());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct FlowTrainer {
    /// All settings.
    pub settings: FlowSettings,
    /// Where rows and checkpoints are written, if anywhere.
    pub checkpointing: Option<Checkpointing>,
}

impl FlowTrainer {
    /// With default settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of updates.
    pub fn steps(mut self, steps: usize) -> Self {
        self.settings.steps = steps;
        self
    }

    /// Points on the way per update.
    pub fn batch(mut self, n: usize) -> Self {
        self.settings.batch = n;
        self
    }

    /// Learning rate.
    pub fn lr(mut self, lr: f64) -> Self {
        self.settings.lr = lr;
        self
    }

    /// Seed.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// Updates between recorded rows.
    pub fn every(mut self, every: usize) -> Self {
        self.settings.every = every;
        self
    }

    /// No progress lines.
    pub fn quiet(mut self) -> Self {
        self.settings.progress = 0.0;
        self
    }

    /// All settings at once.
    pub fn settings(mut self, settings: FlowSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Writes rows and checkpoints to a folder; see [`Trainer::checkpointing`](crate::Trainer::checkpointing).
    pub fn checkpointing(mut self, checkpointing: impl Into<Checkpointing>) -> Self {
        self.checkpointing = Some(checkpointing.into());
        self
    }

    /// Continues the run of an earlier call in `dir`, or begins one there; see
    /// [`Trainer::resume_or_start`](crate::Trainer::resume_or_start).
    pub fn resume_or_start(mut self, dir: impl Into<std::path::PathBuf>) -> Self {
        self.checkpointing = Some(Checkpointing::resume_or_start(dir));
        self
    }

    fn validate(&self, flow: &FlowNet) -> Result<()> {
        let s = &self.settings;
        at_least_one("batch", s.batch)?;
        at_least_one("walkers", s.walkers)?;
        non_negative("time_score", s.time_score)?;
        minimise::validate(&s.rates(), &s.pace(flow.vars().device()), flow.vars())
    }

    /// Trains a flow from noise on `data` `[n, d]`, of any kind on any device, in place.
    ///
    /// The run's walkers are X_0 with A_0 = U_base − U_θ(0, ·): log Z and the ESS of the learned start. A run that diverges
    /// comes back as `Ok` with its rows and the cause.
    ///
    /// # Errors
    /// Settings out of range, data of the wrong shape or not finite, a flow that starts from data.
    pub fn train(&self, flow: &mut FlowNet, data: &Tensor) -> Result<Run> {
        self.train_with(flow, None, data, &mut |_| Vec::new())
    }

    /// As [`train`](FlowTrainer::train) for a flow between two data sets, paired independently.
    ///
    /// # Errors
    /// As [`train`](FlowTrainer::train); a flow that starts from noise.
    pub fn train_pairs(&self, flow: &mut FlowNet, from: &Tensor, to: &Tensor) -> Result<Run> {
        self.train_with(flow, Some(from), to, &mut |_| Vec::new())
    }

    /// As [`train`](FlowTrainer::train), or [`train_pairs`](FlowTrainer::train_pairs) where `from` is given; `callback` adds
    /// columns of its own to every recorded row.
    ///
    /// # Errors
    /// As these.
    pub fn train_with(
        &self,
        flow: &mut FlowNet,
        from: Option<&Tensor>,
        to: &Tensor,
        callback: &mut Callback<FlowNet>,
    ) -> Result<Run> {
        self.open(&*flow, from, to)?.complete(callback)
    }

    /// An owned run that the caller takes step by step: see [`Driver`].
    ///
    /// # Errors
    /// As [`train_with`](FlowTrainer::train_with).
    pub fn start(&self, flow: FlowNet, from: Option<&Tensor>, to: &Tensor) -> Result<Driver<'static, FlowNet>> {
        self.open(flow, from, to)
    }

    fn open<H: Borrow<FlowNet>>(
        &self,
        flow: H,
        from: Option<&Tensor>,
        to: &Tensor,
    ) -> Result<Driver<'static, FlowNet, H>> {
        let matching = self.procedure(flow.borrow(), from, to)?;
        Driver::open(Box::new(matching), flow, self.checkpointing.as_ref())
    }

    fn procedure(&self, flow: &FlowNet, from: Option<&Tensor>, to: &Tensor) -> Result<Minimise<FlowMatching>> {
        let s = &self.settings;
        self.validate(flow)?;
        match (flow.starts_from_data(), from) {
            (true, None) => {
                let expected = "a flow from noise; `train_pairs` takes both data sets";
                return Err(Error::param("flow", "between two data sets", expected));
            }
            (false, Some(_)) => {
                return Err(Error::param("flow", "from noise", "a flow between two data sets; `train` takes one"));
            }
            _ => {}
        }
        let (root, kind, device) = (Rng::new(s.seed), flow.ends_kind(), flow.vars().device());
        let from = from.map(|from| rows_as("from", from, flow.dim(), (kind, device))).transpose()?;
        let to = rows_as("data", to, flow.dim(), (kind, device))?;
        let found = |t: Option<&Tensor>| t.filter(|_| self.checkpointing.is_some()).map(fingerprint).transpose();
        let parts =
            [("from", found(from.as_ref())?.into()), ("data", found(Some(&to))?.into()), ("model", flow.describe())];
        let config = serde_json::json!({ "bridge": flow.bridge(), "shape": flow.shape(), "settings": s });
        let about = About::new(s.pace(device), config, parts, (s.schedule != Schedule::Constant, s.steps));
        let batches = |t: Tensor, label| Batches::new(t, Some(s.batch), 0.0, root.split(label));
        let matching = FlowMatching {
            weighted: flow.weighable().is_ok(),
            from: from.map(|t| batches(t, 4)),
            to: batches(to, 2),
            rng: root.split(1),
            at_start: root.split(3),
            settings: s.clone(),
        };
        Ok(Minimise::new(matching, flow, &s.rates(), about))
    }
}

/// The objective: regression on points of a stochastic interpolant.
#[derive(Debug)]
struct FlowMatching {
    settings: FlowSettings,
    /// Whether the flow has an energy, so that walkers of the learned start carry weights.
    weighted: bool,
    /// Ends X_0, where they are data, and X_1.
    from: Option<Batches>,
    to: Batches,
    /// Times and noise.
    rng: Rng,
    /// The walkers of the run that comes back.
    at_start: Rng,
}

const LOSSES: [&str; 3] = ["loss_velocity", "loss_score", "loss_time"];

impl Objective<FlowNet> for FlowMatching {
    fn name(&self) -> &'static str {
        "flow"
    }

    fn vars<'a>(&self, flow: &'a FlowNet) -> &'a nn::VarStore {
        flow.vars()
    }

    fn columns(&self) -> &[&'static str] {
        &LOSSES
    }

    fn weighted(&self) -> bool {
        self.weighted
    }

    /// The losses on one batch, and their gradient.
    fn measure(&mut self, flow: &FlowNet, at: Update, tally: &mut Tally) -> Result<Measured> {
        let s = &self.settings;
        let x0 = self.from.as_mut().map(Batches::next);
        let drawn = flow.bridge().draw(x0.as_ref(), &self.to.next(), &mut self.rng);
        let losses = losses(flow, &drawn, s.time_score);
        for (name, loss) in LOSSES.iter().zip([losses.velocity.as_ref(), Some(&losses.score), losses.time.as_ref()]) {
            loss.iter().for_each(|loss| tally.sum(name, loss));
        }
        let (batch, slopes) = (s.batch as u64, u64::from(flow.energy_net().is_some()));
        tally.cost.forward += batch;
        tally.cost.backward += (slopes + u64::from(!at.last)) * batch;
        at.descend_from(&losses.total())
    }

    fn save(&self, to: &mut Checkpoint) -> Result<()> {
        self.from.as_ref().map_or(Ok(()), |from| from.save(to, "from"))?;
        self.to.save(to, "to")?;
        to.put_json("rng", &self.rng)
    }

    fn load(&mut self, from: &Checkpoint) -> Result<()> {
        self.from.as_mut().map_or(Ok(()), |batches| batches.load(from, "from"))?;
        self.to.load(from, "to")?;
        self.rng = from.json("rng")?;
        Ok(())
    }

    /// Walkers at t = 0 of the learned energy.
    fn finish(&mut self, flow: &FlowNet, outcome: &Outcome) -> Result<Parts> {
        let (n, rng) = (self.settings.walkers, &mut self.at_start);
        let walkers = match flow.weighable() {
            Ok(()) => guard(|| Walkers::start_from(flow.base(), &At::new(flow, 0.0), n, false, rng)),
            Err(_) => guard(|| Ok(Walkers::new(flow.evaluate(0.0, &flow.base().sample(n, rng)), f64::NAN))),
        };
        match (walkers, outcome) {
            (Ok(walkers), _) => Ok(Parts { walkers, monitor: None }),
            // a net that diverged has no energies; its rows are what can be had
            (Err(_), Outcome::Diverged { .. } | Outcome::Paused { .. }) => {
                let x = flow.base().sample(n, &mut self.at_start);
                let nothing = x.select(1, 0).full_like(f64::NAN);
                let evaluation = Evaluation::new(x.shallow_clone(), nothing, x.full_like(f64::NAN));
                Ok(Parts { walkers: Walkers::new(evaluation, f64::NAN), monitor: None })
            }
            (Err(e), Outcome::Finished) => Err(e),
        }
    }
}

/// The terms of one update; the time score comes with its weight.
struct Losses {
    velocity: Option<Tensor>,
    score: Tensor,
    time: Option<Tensor>,
    weight: f64,
}

impl Losses {
    fn total(&self) -> Tensor {
        let time = self.time.as_ref().map(|t| t * self.weight);
        let parts = [self.velocity.as_ref(), Some(&self.score), time.as_ref()];
        Tensor::stack(&parts.into_iter().flatten().collect::<Vec<_>>(), 0).sum(None::<Kind>)
    }
}

/// Guide (121), (122) and the time score on one batch.
fn losses(flow: &FlowNet, at: &Drawn, time_score: f64) -> Losses {
    let moments = flow.moments(&at.times);
    let sum = |t: &Tensor| t.sum_dim_intlist(-1, false, None::<Kind>);
    let mean = |t: Tensor| t.mean(None::<Kind>);
    let velocity = flow.velocity_net().map(|net| {
        let b = flow.velocity_at(net, &moments, &at.t, &at.x);
        mean(sum(&(&b * (&b * 0.5 - &at.velocity))))
    });
    // N² (½|ŝ|² + ζ·ŝ/N) = ½|Nŝ|² + ζ·Nŝ
    let regress = |scaled: &Tensor| mean(sum(&(scaled * (scaled * 0.5 + &at.noise))));
    if let Some(s) = flow.score_at(&moments, &at.t, &at.x) {
        return Losses { velocity, score: regress(&(s * &at.width)), time: None, weight: 0.0 };
    }
    let timed = time_score > 0.0 && flow.energy_net().is_some();
    let leaf = |t: &Tensor| t.detach().set_requires_grad(true);
    let (x, t) = (leaf(&at.x), leaf(&at.t));
    let u = flow.energy_at(&moments, &t, &x);
    let wanted: Vec<&Tensor> = if timed { vec![&x, &t] } else { vec![&x] };
    let slopes = Tensor::run_backward(&[u.sum(u.kind())], &wanted, true, true);
    let time = timed.then(|| {
        let rate = slopes[1].squeeze_dim(-1) + flow.well_rate(&moments, &at.x);
        mean(((rate + &at.rate) * at.width.squeeze_dim(-1)).square() * 0.5)
    });
    let weight = time_score / at.x.size()[1] as f64;
    Losses { velocity, score: regress(&(&slopes[0] * -&at.width)), time, weight }
}

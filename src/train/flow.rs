//! Learn a flow's velocity and energy from data, guide (121) and (122), one update as in the algorithm box.

use super::optimiser::Optimiser;
use super::{FlowSettings, Schedule, optim};
use crate::checkpoint::Checkpoint;
use crate::energy::{check_rows, restore_parameters, save_parameters};
use crate::error::guard;
use crate::keep::Keeper;
use crate::model::{FlowNet, bridge::Drawn};
use crate::progress::Progress;
use crate::record::Recorder;
use crate::threads::Threads;
use crate::{At, Error, Keep, Outcome, Path, Result, Rng, Run, Walkers};
use std::time::Instant;
use tch::{Device, Kind, Tensor};

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
pub struct FlowTrainer {
    /// All settings.
    pub settings: FlowSettings,
    /// Where the run is kept on disk, if anywhere.
    pub keep: Option<Keep>,
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

    /// Keeps the run on disk as it goes; see [`Trainer::keep`](crate::Trainer::keep).
    pub fn keep(mut self, keep: impl Into<Keep>) -> Self {
        self.keep = Some(keep.into());
        self
    }

    /// Goes on with the run that is kept in `dir`; see [`Trainer::resume`](crate::Trainer::resume).
    pub fn resume(mut self, dir: impl Into<std::path::PathBuf>) -> Self {
        self.keep = Some(Keep::resume(dir));
        self
    }

    fn config(&self, flow: &FlowNet) -> serde_json::Value {
        serde_json::json!({ "bridge": flow.bridge(), "shape": flow.shape(), "settings": self.settings })
    }

    /// All that a continuation must agree with.
    fn identity(&self, flow: &FlowNet, from: Option<&Tensor>, to: &Tensor) -> Result<serde_json::Value> {
        let mut config = self.config(flow);
        config["from"] = from.map(crate::keep::fingerprint).transpose()?.into();
        config["data"] = crate::keep::fingerprint(to)?.into();
        config["parameters"] = crate::keep::shapes(flow.vars());
        if self.settings.schedule != Schedule::Constant {
            config["schedule over"] = self.settings.steps.into();
        }
        Ok(config)
    }

    fn validate(&self) -> Result<()> {
        let s = &self.settings;
        for (name, n) in [("batch", s.batch), ("walkers", s.walkers), ("every", s.every), ("threads", s.threads)] {
            if n == 0 {
                return Err(Error::param(name, n, "at least 1"));
            }
        }
        for (name, v) in [("lr", s.lr), ("time_score", s.time_score), ("progress", s.progress)] {
            if !(v >= 0.0 && v.is_finite()) {
                return Err(Error::param(name, v, "a finite number ≥ 0"));
            }
        }
        s.optim.validate()?;
        s.schedule.validate()
    }

    /// Trains a flow from noise on `data` `[n, d]`, in place.
    ///
    /// The run's walkers are X_0 with A_0 = U_base − U_θ(0, ·): log Z and the ESS of the learned start. A run that diverges
    /// comes back as `Ok` with its rows and the cause. Errors: settings out of range, data of the wrong shape or not
    /// finite, a flow that starts from data.
    pub fn train(&self, flow: &mut FlowNet, data: &Tensor) -> Result<Run> {
        if flow.starts_from_data() {
            let expected = "a flow from noise; `train_pairs` takes both data sets";
            return Err(Error::param("flow", "between two data sets", expected));
        }
        self.fit(flow, None, data)
    }

    /// As [`train`](FlowTrainer::train) for a flow between two data sets, paired independently.
    pub fn train_pairs(&self, flow: &mut FlowNet, from: &Tensor, to: &Tensor) -> Result<Run> {
        if !flow.starts_from_data() {
            return Err(Error::param("flow", "from noise", "a flow between two data sets; `train` takes one"));
        }
        check_rows("from", from, flow.dim())?;
        self.fit(flow, Some(from), to)
    }

    fn fit(&self, flow: &mut FlowNet, from: Option<&Tensor>, to: &Tensor) -> Result<Run> {
        self.validate()?;
        check_rows("data", to, flow.dim())?;
        let s = &self.settings;
        let _threads = Threads::request(s.threads);
        let (started, root) = (Instant::now(), Rng::new(s.seed));
        let (kind, device) = (flow.ends_kind(), flow.vars().device());
        let place = |t: &Tensor| t.to_device(device).to_kind(kind);
        let (from, to) = (from.map(place), place(to));
        let (mut rng, mut pick) = (root.split(1), root.split(2));
        let mut optimiser = Optimiser::new(s.optim, flow.vars());
        let params = flow.vars().trainable_variables();
        let (mut recorder, mut outcome) = (Recorder::default(), Outcome::Finished);
        let (mut since, mut first, mut keeper) = (Since::default(), 0, None);
        if let Some(keep) = &self.keep {
            let (mut opened, found) =
                Keeper::open(keep, ("flow", false), s.seed, self.identity(flow, from.as_ref(), &to)?)?;
            if let Some(found) = found {
                restore_parameters(flow.vars(), &found)?;
                optimiser.restore(found.json("optimiser")?, |name| found.get(&format!("optimiser.{name}")))?;
                (rng, pick, first) = (found.json("rng")?, found.json("pick")?, found.json("step")?);
                since = Since::restore(&found, device)?;
                recorder = opened.recorded(&found)?;
            }
            keeper = Some(opened);
        }
        let seconds = |k: &Option<Keeper>| k.as_ref().map_or_else(|| started.elapsed().as_secs_f64(), Keeper::seconds);
        let mut progress = Progress::new("flow", s.progress, first, s.steps);
        for k in first..=s.steps {
            let last = k == s.steps;
            if let Some(keeper) = &mut keeper {
                let visited = keeper.visit(k, s.steps, &recorder, |to| {
                    save_parameters(flow.vars(), to);
                    let (steps, memory) = optimiser.state();
                    memory.iter().for_each(|(name, t)| to.put(format!("optimiser.{name}"), t));
                    to.put_json("optimiser", &steps)?;
                    since.save(to)?;
                    to.put_json("rng", &rng)?;
                    to.put_json("pick", &pick)
                });
                if let Some(end) = visited? {
                    outcome = end;
                    break;
                }
            }
            let lr = s.lr * s.schedule.factor(k, s.steps);
            let step = guard(|| {
                let x0 = from.as_ref().map(|x| gather(x, s.batch, &mut pick));
                let drawn = flow.bridge().draw(x0.as_ref(), &gather(&to, s.batch, &mut pick), &mut rng);
                let losses = losses(flow, &drawn, s.time_score);
                since.add(&losses, s.batch);
                Ok(if last { Vec::new() } else { Tensor::run_backward(&[losses.total()], &params, false, false) })
            });
            let grads = match step {
                Ok(grads) => grads,
                Err(e) => {
                    outcome = Outcome::Diverged { step: k, cause: e.to_string() };
                    break;
                }
            };
            if k.is_multiple_of(s.every) || last {
                let [velocity, score, time, total] = since.means();
                recorder.push([
                    ("step", k as f64),
                    ("lr", lr),
                    ("loss_velocity", velocity),
                    ("loss_score", score),
                    ("loss_time", time),
                    ("grad_norm", if last { f64::NAN } else { optim::norm(&grads) }),
                    ("forward", since.rows as f64),
                    ("seconds", seconds(&keeper)),
                ]);
                since = Since::default();
                if !total.is_finite() {
                    outcome = Outcome::Diverged { step: k, cause: format!("the loss is {total}") };
                    break;
                }
                progress.at(k, || format!("loss {total:.3}"));
            }
            if !last {
                optimiser.step(&grads, |_| lr);
            }
        }
        drop(progress);
        let weighted = flow.weighable().is_ok();
        let mut at_start = root.split(3);
        let walkers = match weighted {
            true => guard(|| Walkers::start_from(flow.base(), &At::new(&*flow, 0.0), s.walkers, false, &mut at_start)),
            false => guard(|| Ok(Walkers::new(flow.evaluate(0.0, &flow.base().sample(s.walkers, &mut at_start)), 0.0))),
        };
        let walkers = match (walkers, &outcome) {
            (Ok(walkers), _) => walkers,
            // a diverged net has no energies left; its rows are what can be had
            (Err(_), Outcome::Diverged { .. } | Outcome::Paused { .. }) => {
                let x = flow.base().sample(s.walkers, &mut at_start);
                let nothing = x.select(1, 0).full_like(f64::NAN);
                Walkers::new(crate::Point::new(x.shallow_clone(), nothing, x.full_like(f64::NAN)), f64::NAN)
            }
            (Err(e), Outcome::Finished) => return Err(e),
        };
        let seconds = seconds(&keeper);
        if let Some(keeper) = keeper {
            outcome = keeper.close(s.steps, &recorder, outcome);
        }
        Ok(Run {
            stats: recorder.stats()?,
            walkers,
            monitor: None,
            weighted,
            label: "flow".into(),
            config: self.config(flow),
            seed: s.seed,
            outcome,
            seconds,
        })
    }
}

/// Losses summed up since the previous row, where they are: reading them at every update would wait for the device.
#[derive(Default)]
struct Since {
    sums: [Option<Tensor>; 4],
    updates: usize,
    rows: usize,
}

impl Since {
    fn add(&mut self, losses: &Losses, rows: usize) {
        let new = [losses.velocity.as_ref(), Some(&losses.score), losses.time.as_ref(), Some(&losses.total())]
            .map(|l| l.map(Tensor::detach));
        for (sum, new) in self.sums.iter_mut().zip(new) {
            *sum = match (sum.take(), new) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            };
        }
        self.updates += 1;
        self.rows += rows;
    }

    fn save(&self, to: &mut Checkpoint) -> Result<()> {
        for (i, sum) in self.sums.iter().enumerate() {
            if let Some(sum) = sum {
                to.put(format!("since.{i}"), sum);
            }
        }
        to.put_json("since", &(self.updates, self.rows))
    }

    fn restore(from: &Checkpoint, device: Device) -> Result<Self> {
        let (updates, rows) = from.json("since")?;
        let sum = |i: usize| from.find(&format!("since.{i}")).map(|t| t.to_device(device));
        Ok(Since { sums: [sum(0), sum(1), sum(2), sum(3)], updates, rows })
    }

    /// Of (121), (122), the time score and the whole loss; NaN where there is none.
    fn means(&self) -> [f64; 4] {
        let there: Vec<Tensor> = self.sums.iter().flatten().map(Tensor::shallow_clone).collect();
        let mut read = crate::device::fetch(&there).into_iter();
        let mut mean = |sum: &Option<Tensor>| match sum {
            Some(_) => read.next().unwrap_or(f64::NAN) / self.updates as f64,
            None => f64::NAN,
        };
        [mean(&self.sums[0]), mean(&self.sums[1]), mean(&self.sums[2]), mean(&self.sums[3])]
    }
}

/// A batch drawn with replacement.
fn gather(x: &Tensor, n: usize, rng: &mut Rng) -> Tensor {
    x.index_select(0, &rng.index_tensor(x.size()[0] as usize, n, x.device()))
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

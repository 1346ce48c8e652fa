//! Train a drift, one update as in the algorithm box: transport, loss, gradient, step.

use super::residual::Pool;
use super::variance::Trail;
use super::{DriftTrainer, Loss};
use crate::density::{At, Differentiable, Path, restore_parameters, save_parameters};
use crate::error::{Result, no_grad};
use crate::io::{Checkpoint, fingerprint};
use crate::kernel::{EvalCounts, Kernel};
use crate::model::WithDrift;
use crate::numeric::Rng;
use crate::run::{Health, Outcome, Pace, Parts, Procedure, Recorder, Row, Tally};
use crate::train::descent::{self, Descent};
use crate::walkers::{Scheme, Walkers, zero_density};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

/// Share of a batch in the table of ∂_tF_t.
const LEARNT: f64 = 0.1;

/// The procedure.
#[derive(Debug)]
pub(super) struct Drifting<K> {
    of: DriftTrainer<K>,
    device: Device,
    rng: Rng,
    descent: Descent,
    params: Vec<Tensor>,
    grads: Vec<Tensor>,
    norm: f64,
    /// Walkers of the last transport, at its horizon.
    walkers: Walkers,
    /// Steps of it.
    reached: usize,
    pool: Option<Pool>,
}

impl<K> Drifting<K> {
    pub fn new<P: Path>(of: DriftTrainer<K>, flow: &WithDrift<P>) -> Result<Self> {
        flow.weighable()?;
        let vs = flow.drift.vars();
        Ok(Drifting {
            device: flow.drift.options().1,
            rng: Rng::new(of.settings.seed).split(0x6472_6966),
            descent: Descent::new(&of.settings.rates(), vs),
            params: vs.trainable_variables(),
            grads: Vec::new(),
            norm: f64::NAN,
            walkers: Walkers::none(),
            reached: 0,
            pool: None,
            of,
        })
    }

    /// Takes new walkers from the base to t = reach/K; where they were, and A_0.
    fn travel<P: Path + Differentiable>(
        &mut self,
        flow: &WithDrift<P>,
        reach: usize,
        tally: &mut Tally,
    ) -> Result<(Trail, Tensor)>
    where
        K: for<'a> Kernel<At<'a, WithDrift<P>>>,
    {
        let s = &self.of.settings;
        let time = |k: usize| k as f64 / s.grid as f64;
        let start = At::new(flow, 0.0);
        let mut walkers = Walkers::start_from(flow.base(), &start, s.walkers, false, &mut self.rng)?;
        self.of.kernel.check(&start, walkers.evaluation())?;
        tally.cost += EvalCounts::evaluation(s.walkers);
        let (first, mut trail) = (walkers.log_weights().copy(), Trail::default());
        trail.push(&walkers);
        for k in 0..reach {
            let (now, next) = At::step(flow, time(k), time(k + 1));
            tally.cost += no_grad(|| self.of.kernel.advance(&now, &next, &mut walkers, &mut self.rng));
            if let Some(fault) = zero_density::fault(&walkers) {
                let place = format!("of the training's walkers at t = {}: {fault}", time(k + 1));
                return Err(crate::error::Error::NonFinite { what: "energy or weight", place });
            }
            // the variance is that of whole paths
            if self.of.loss == Loss::Residual && walkers.resample_below(s.ess_min, Scheme::Systematic, &mut self.rng) {
                tally.resampled += 1;
            }
            trail.push(&walkers);
        }
        (self.walkers, self.reached) = (walkers, reach);
        Ok((trail, first))
    }
}

impl Trail {
    fn push(&mut self, walkers: &Walkers) {
        let at = walkers.evaluation();
        self.x.push(at.x.shallow_clone());
        self.u.push(at.u.shallow_clone());
        self.grad.push(at.grad().to_kind(at.x.kind()));
    }
}

impl<K, P: Path + Differentiable> Procedure<WithDrift<P>> for Drifting<K>
where
    K: for<'a> Kernel<At<'a, WithDrift<P>>>,
{
    fn name(&self) -> &'static str {
        "drift"
    }

    fn steps(&self) -> usize {
        self.of.settings.steps
    }

    fn schedule(&self) -> Pace {
        let s = &self.of.settings;
        Pace { every: s.every, seed: s.seed, threads: s.threads, progress: s.progress, device: self.device }
    }

    fn config(&self) -> Value {
        let kernel = Kernel::<At<WithDrift<P>>>::identity(&self.of.kernel);
        let loss = if self.of.loss == Loss::Residual { "residual" } else { "variance" };
        json!({
            "kernel": kernel.unwrap_or_else(|_| format!("{:?}", self.of.kernel).into()),
            "loss": loss,
            "settings": self.of.settings,
        })
    }

    /// Of the path, its energies at a few places.
    fn identity(&self, flow: &WithDrift<P>) -> Result<Value> {
        let mut config = Procedure::<WithDrift<P>>::config(self);
        config["kernel"] = Kernel::<At<WithDrift<P>>>::identity(&self.of.kernel)?;
        config["model"] = flow.drift.describe();
        config["schedule over"] = self.of.over().into();
        let x = flow.base().sample(8, &mut Rng::new(0x9a7));
        let u = |t| no_grad(|| flow.energy(t, &x)).to_kind(Kind::Double).unsqueeze(0);
        config["path"] = fingerprint(&Tensor::cat(&[u(0.3), u(1.0)], 0))?.into();
        Ok(config)
    }

    fn weighted(&self) -> bool {
        true
    }

    /// One transport by the untrained drift tells the scale of the gradients at each time.
    fn begin(&mut self, flow: &WithDrift<P>, tally: &mut Tally) -> Result<()> {
        if !flow.drift.shape().gradient {
            return Ok(());
        }
        let (trail, _) = self.travel(flow, self.of.settings.grid, tally)?;
        let squares: Vec<Tensor> = trail.grad.iter().map(|g| g.square().mean_dim(0, false, None::<Kind>)).collect();
        flow.drift.set_mobility(&squares);
        Ok(())
    }

    fn measure(&mut self, flow: &WithDrift<P>, k: usize, last: bool, tally: &mut Tally) -> Result<Health> {
        let (reach, h) = (self.of.settings.reach(k), 1.0 / self.of.settings.grid as f64);
        let (name, loss) = match self.of.loss.clone() {
            Loss::Residual => {
                if self.pool.is_none() || k.is_multiple_of(self.of.settings.refresh) || last {
                    let (trail, _) = self.travel(flow, reach, tally)?;
                    let s = &self.of.settings;
                    self.pool = Some(Pool::new(flow, (&trail.x, &trail.grad), s, &mut self.rng, &mut tally.cost)?);
                }
                let Some(pool) = &self.pool else { return Ok(Health::Lost("no walkers".into())) };
                let (loss, rates) = pool.loss(flow, &self.of.settings, &mut self.rng, &mut tally.cost);
                rates.iter().for_each(|(t, rate)| flow.drift.learn_rate((*t, 0.5 * h), rate, LEARNT));
                ("loss_residual", loss)
            }
            Loss::Variance(eps) => {
                let (trail, start) = self.travel(flow, reach, tally)?;
                ("loss_variance", trail.variance(flow, &start, (h, &eps), &mut tally.cost))
            }
        };
        tally.sum(name, &loss);
        tally.updates += 1;
        self.grads = if last { Vec::new() } else { Tensor::f_run_backward(&[&loss], &self.params, false, false)? };
        let (read, norm) = self.descent.read(&[loss.detach()], &mut self.grads);
        self.norm = norm;
        Ok(descent::health(read[0], norm, last))
    }

    fn row(&mut self, _flow: &WithDrift<P>, k: usize, spent: &Tally, row: &mut Row) -> Result<()> {
        row.put("t", self.reached as f64 / self.of.settings.grid as f64);
        row.put("lr", self.descent.rate(k));
        let name = if self.of.loss == Loss::Residual { "loss_residual" } else { "loss_variance" };
        let [loss] = spent.means([name]);
        let z = self.walkers.log_z();
        row.extend([
            (name, loss),
            ("grad_norm", self.norm),
            ("log_z", z.value),
            ("log_z_se", z.se),
            ("ess", self.walkers.take_lowest_ess()),
            ("resampled", spent.resampled as f64),
            ("forward", spent.cost.forward as f64),
            ("backward", spent.cost.backward as f64),
            ("drift", spent.cost.drift as f64),
            ("jacobian", spent.cost.jacobian as f64),
        ]);
        Ok(())
    }

    fn step(&mut self, _flow: &WithDrift<P>, k: usize, _tally: &mut Tally) -> Result<Health> {
        self.descent.step(&self.grads, k);
        Ok(Health::Fine)
    }

    fn save(&self, flow: &WithDrift<P>, to: &mut Checkpoint) -> Result<()> {
        save_parameters(flow.drift.vars(), to)?;
        self.descent.save(to)?;
        self.walkers.save(to, "walkers")?;
        to.put_json("reached", &self.reached)?;
        self.pool.iter().for_each(|pool| pool.save(to));
        to.put_json("rng", &self.rng)
    }

    fn load(&mut self, flow: &WithDrift<P>, _k: usize, from: &Checkpoint) -> Result<()> {
        restore_parameters(flow.drift.vars(), from)?;
        self.descent.load(from, self.device)?;
        self.reached = from.json("reached")?;
        let t = self.reached as f64 / self.of.settings.grid as f64;
        self.walkers = Walkers::restore(from, "walkers", self.device, |x| flow.evaluate(t, x))?;
        self.pool = Pool::load(from, self.device);
        self.rng = from.json("rng")?;
        Ok(())
    }

    fn walkers(&self) -> &Walkers {
        &self.walkers
    }

    fn time(&self, _k: usize) -> f64 {
        self.reached as f64 / self.of.settings.grid as f64
    }

    fn details(&self, _k: usize, rows: &Recorder) -> String {
        let known = ["loss_residual", "loss_variance"].iter().find_map(|name| rows.last(name));
        known.map_or(String::new(), |loss| format!("loss {loss:.3}"))
    }

    fn finish(self: Box<Self>, _flow: &WithDrift<P>, _outcome: &Outcome) -> Result<Parts> {
        Ok(Parts { walkers: self.walkers, monitor: None })
    }
}

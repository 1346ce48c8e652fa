//! Take walkers along a path step by step: forward at t_k, backward at t_{k+1}, A += α − λ; or down it, by the backward density.

use super::Transport;
use crate::density::{At, Energy, Grid, Path};
use crate::error::{Error, Result, guard, no_grad};
use crate::io::Checkpoint;
use crate::io::fingerprint;
use crate::kernel::{EvalCounts, Kernel};
use crate::numeric::{Rng, fetch};
use crate::run::{Health, Memory, Outcome, Pace, Parts, Procedure, Recorder, Row, Tally};
use crate::walkers::{Walkers, check_shapes, zero_density};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

/// One transport: the procedure on a path `P`.
#[derive(Debug)]
pub(super) struct Along<K> {
    pub(super) of: Transport<K>,
    label: &'static str,
    pub(super) grid: Grid,
    pub(super) rng: Rng,
    pub(super) walkers: Walkers,
    /// Where a reverse run starts, at t = 1.
    top: Option<Tensor>,
}

impl<K> Along<K> {
    pub fn new(of: Transport<K>, label: &'static str) -> Result<Self> {
        let grid = of.grid()?;
        // a transport named otherwise has streams of its own: AIS of a model is independent of the training with the same seed
        let root = match label {
            "transport" => Rng::new(of.seed),
            label => label.bytes().fold(Rng::new(of.seed), |rng, byte| rng.split(u64::from(byte) + 256)),
        };
        Ok(Along { rng: root.split(1), of, label, grid, walkers: Walkers::none(), top: None })
    }

    /// A reverse run, from rows `top` of t = 1.
    pub fn down(of: Transport<K>, label: &'static str, top: &Tensor) -> Result<Self> {
        Ok(Along { top: Some(top.shallow_clone()), ..Along::new(of, label)? })
    }

    /// The time of state k.
    fn place(&self, k: usize) -> f64 {
        self.grid.at(if self.top.is_some() { self.grid.steps().saturating_sub(k) } else { k })
    }

    /// Draws and weighs the start of a transport.
    fn begin_at_the_base<P: Path>(&mut self, path: &P) -> Result<()>
    where
        K: for<'b> Kernel<At<'b, P>>,
    {
        let of = &self.of;
        let (first, _) = At::step(path, 0.0, self.grid.at(1));
        self.walkers = match of.weighted {
            true => {
                let walkers = Walkers::start_from(path.base(), &first, of.walkers, false, &mut self.rng)?;
                let few = walkers.x().narrow(0, 0, (of.walkers as i64).min(64));
                let last = no_grad(|| path.energy(1.0, &few)).to_kind(Kind::Double);
                // Infinite at some points is zero density there; infinite at all of them, or NaN, is a path that does not arrive.
                if last.isnan().any().int64_value(&[]) != 0 || last.isfinite().any().int64_value(&[]) == 0 {
                    return Err(Error::NonFinite { what: "energy", place: "at the path's end, t = 1".into() });
                }
                walkers
            }
            false => {
                let x = path.base().sample(of.walkers, &mut self.rng);
                Walkers::new(path.evaluate(0.0, &x), f64::NAN)
            }
        };
        check_shapes(self.walkers.evaluation(), of.walkers)?;
        of.kernel.check(&first, self.walkers.evaluation())?;
        self.stands_still(path)
    }

    /// Evaluates the start of a reverse run, and asks the kernel for one step of a few walkers.
    fn begin_at_the_top<P: Path>(&mut self, path: &P, top: &Tensor) -> Result<()>
    where
        K: for<'b> Kernel<At<'b, P>>,
    {
        let end = self.grid.steps();
        let (before, last) = At::step(path, self.grid.at(end - 1), 1.0);
        let point = last.evaluate(top);
        check_shapes(&point, self.of.walkers)?;
        if point.u.isfinite().all().int64_value(&[]) == 0 {
            let place = "at the start of a reverse run: a draw of the path's end has positive density there".into();
            return Err(Error::NonFinite { what: "energy", place });
        }
        self.of.kernel.check(&last, &point)?;
        let few = last.evaluate(&top.narrow(0, 0, top.size()[0].min(4)));
        let _probe = self.of.kernel.reverse(&before, &last, &few, &mut Rng::new(0))?;
        self.walkers = Walkers::new(point, 0.0);
        Ok(())
    }

    /// From state k of a reverse run to k + 1, which is nearer to t = 0: −A changes by λ − α.
    fn descend<P: Path>(&mut self, path: &P, k: usize, tally: &mut Tally) -> Result<Health>
    where
        K: for<'b> Kernel<At<'b, P>>,
    {
        let to_go = self.grid.steps() - k;
        let (of, walkers, rng) = (&self.of, &mut self.walkers, &mut self.rng);
        let (from, to) = At::step(path, self.grid.at(to_go - 1), self.grid.at(to_go));
        let mut moved = of.kernel.reverse(&from, &to, walkers.evaluation(), rng)?;
        tally.add((moved.cost, moved.acceptance.take()));
        check_weight("increment", &moved.increment, of.walkers)?;
        let mut gain = -moved.increment;
        if to_go == 1 {
            // the start's own weight A_0 = U_base − U_0
            let x = &moved.evaluation.x;
            let base = no_grad(|| path.base().energy(x)).to_kind(Kind::Double);
            gain = gain + moved.evaluation.u.to_kind(Kind::Double) - base;
        }
        let (gain, lambda) =
            zero_density::increment(walkers, gain.shallow_clone(), &gain.zeros_like(), &moved.evaluation.u);
        walkers.commit(moved.evaluation, &gain, &lambda);
        check_shapes(walkers.evaluation(), of.walkers)?;
        Ok(moved.fault.or_else(|| zero_density::fault(walkers)).map_or(Health::Fine, Health::Lost))
    }
}

/// One number in f64 per walker?
pub(super) fn check_weight(name: &'static str, t: &Tensor, walkers: usize) -> Result<()> {
    if t.size() == [walkers as i64] && t.kind() == Kind::Double {
        return Ok(());
    }
    let expected = format!("[{walkers}] in f64: a weight for each walker");
    Err(Error::Shape { name, got: t.size(), expected })
}

/// The columns of a row at time t.
pub(super) fn record(walkers: &mut Walkers, weighted: bool, t: f64, spent: &Tally, row: &mut Row) {
    let lowest = if weighted { walkers.take_lowest_ess() } else { f64::NAN };
    row.put("t", t);
    let mut numbers: Vec<Tensor> = spent.acceptance.iter().map(Tensor::shallow_clone).collect();
    let known = numbers.len();
    if weighted {
        numbers.push(walkers.with_weight(&walkers.evaluation().u).to_kind(Kind::Double).dot(&walkers.weights()));
    }
    let read = fetch(&numbers);
    if weighted {
        let z = walkers.log_z();
        row.extend([
            ("energy_walkers", read[known]),
            ("log_z", z.value),
            ("log_z_se", z.se),
            ("ess", lowest),
            ("lineages", walkers.lineages() as f64),
        ]);
    }
    row.extend([
        ("resampled", spent.resampled as f64),
        ("acceptance", read[..known].first().copied().unwrap_or(f64::NAN)),
        ("forward", spent.cost.forward as f64),
        ("backward", spent.cost.backward as f64),
        ("drift", spent.cost.drift as f64),
        ("jacobian", spent.cost.jacobian as f64),
    ]);
}

impl<K, P: Path> Procedure<P> for Along<K>
where
    K: for<'b> Kernel<At<'b, P>>,
{
    fn name(&self) -> &'static str {
        self.label
    }

    fn unit(&self) -> &'static str {
        "steps"
    }

    fn steps(&self) -> usize {
        self.grid.steps()
    }

    fn schedule(&self) -> Pace {
        let of = &self.of;
        let device = self.walkers.x().device();
        Pace { every: of.every, seed: of.seed, threads: of.threads, progress: of.progress, device }
    }

    fn config(&self) -> Value {
        let of = &self.of;
        let kernel = Kernel::<At<P>>::identity(&of.kernel);
        serde_json::json!({
            "kernel": kernel.unwrap_or_else(|_| format!("{:?}", of.kernel).into()),
            "steps": self.grid.steps(),
            "times": of.times,
            "walkers": of.walkers,
            "ess_min": of.ess_min,
        })
    }

    fn weighted(&self) -> bool {
        self.of.weighted
    }

    /// Of the path, its energies at a few places.
    fn identity(&self, path: &P) -> Result<Value> {
        let of = &self.of;
        let mut config = Procedure::<P>::config(self);
        config["kernel"] = Kernel::<At<P>>::identity(&of.kernel)?;
        for (name, value) in [
            ("seed", of.seed.into()),
            ("every", of.every.into()),
            ("threads", of.threads.into()),
            ("weighted", of.weighted.into()),
            ("chain", of.chain.into()),
            ("scheme", format!("{:?}", of.scheme).into()),
        ] {
            config[name] = value;
        }
        if let Some(top) = &self.top {
            config["start"] = fingerprint(top)?.into();
        }
        let x = path.base().sample(8, &mut Rng::new(0x9a7));
        if path.weighable().is_ok() {
            let u = |t| no_grad(|| path.energy(t, &x)).to_kind(Kind::Double).unsqueeze(0);
            config["path"] = guard(|| fingerprint(&Tensor::cat(&[u(0.3), u(1.0)], 0)))?.into();
        }
        Ok(config)
    }

    fn memory(&self, path: &P) -> Option<(Memory, Device)> {
        Some((self.of.memory(path), path.base().sample(1, &mut Rng::new(0)).device()))
    }

    fn begin(&mut self, path: &P, tally: &mut Tally) -> Result<()> {
        if self.of.weighted {
            path.weighable()?;
        }
        match self.top.take() {
            None => self.begin_at_the_base(path)?,
            Some(top) => {
                self.begin_at_the_top(path, &top)?;
                self.top = Some(top);
            }
        }
        tally.cost += EvalCounts::evaluation(self.of.walkers);
        Ok(())
    }

    fn measure(&mut self, _path: &P, _k: usize, _last: bool, _tally: &mut Tally) -> Result<Health> {
        Ok(Health::Fine)
    }

    fn row(&mut self, _path: &P, k: usize, spent: &Tally, row: &mut Row) -> Result<()> {
        let t = self.place(k);
        record(&mut self.walkers, self.of.weighted, t, spent, row);
        Ok(())
    }

    fn step(&mut self, path: &P, k: usize, tally: &mut Tally) -> Result<Health> {
        if self.top.is_some() {
            return self.descend(path, k, tally);
        }
        if let Some(length) = self.of.chain {
            return self.chains(path, (k, length), tally);
        }
        let (of, walkers, rng) = (&self.of, &mut self.walkers, &mut self.rng);
        let (now, next) = At::step(path, self.grid.at(k), self.grid.at(k + 1));
        let mut mv = match of.weighted {
            true => of.kernel.forward(&now, walkers.evaluation(), rng),
            false => of.kernel.forward_unweighted(&now, walkers.evaluation(), rng),
        };
        tally.add((mv.cost, mv.acceptance.take()));
        let (alpha, fault) = (mv.alpha.shallow_clone(), mv.fault.clone().filter(|_| of.weighted));
        let mut arrival = of.kernel.backward(&next, walkers.evaluation(), mv, rng);
        tally.add((arrival.cost, arrival.acceptance.take()));
        if !of.weighted {
            walkers.relocate(arrival.evaluation);
            check_shapes(walkers.evaluation(), of.walkers)?;
            let known = walkers.x().sum(Kind::Double).double_value(&[]).is_finite();
            return Ok(if known {
                Health::Fine
            } else {
                Health::Lost("positions of the walkers are not finite".into())
            });
        }
        check_weight("alpha", &alpha, of.walkers)?;
        check_weight("lambda", &arrival.lambda, of.walkers)?;
        let (alpha, lambda) = zero_density::increment(walkers, alpha, &arrival.lambda, &arrival.evaluation.u);
        walkers.commit(arrival.evaluation, &alpha, &lambda);
        check_shapes(walkers.evaluation(), of.walkers)?;
        if let Some(fault) = fault {
            return Ok(Health::Lost(fault));
        }
        let mut lost = zero_density::fault(walkers);
        if walkers.resample_below(of.ess_min, of.scheme, rng) {
            tally.resampled += 1;
            // walkers of weight zero are gone, and what they had for an energy with them
            lost = zero_density::fault(walkers);
        }
        Ok(lost.map_or(Health::Fine, Health::Lost))
    }

    fn save(&self, _path: &P, to: &mut Checkpoint) -> Result<()> {
        self.walkers.save(to, "walkers")?;
        to.put_json("rng", &self.rng)
    }

    fn load(&mut self, path: &P, k: usize, from: &Checkpoint) -> Result<()> {
        let (device, t) = (path.base().sample(1, &mut Rng::new(0)).device(), self.place(k));
        self.walkers = Walkers::restore(from, "walkers", device, |x| path.evaluate(t, x))?;
        self.rng = from.json("rng")?;
        Ok(())
    }

    fn walkers(&self) -> &Walkers {
        &self.walkers
    }

    fn time(&self, k: usize) -> f64 {
        self.place(k)
    }

    fn details(&self, k: usize, _rows: &Recorder) -> String {
        let t = self.place(k);
        match self.of.weighted {
            true => format!("t {t:.3}  ESS {:.3}", self.walkers.ess()),
            false => format!("t {t:.3}"),
        }
    }

    fn finish(self: Box<Self>, _path: &P, _outcome: &Outcome) -> Result<Parts> {
        Ok(Parts { walkers: self.walkers, monitor: None })
    }
}

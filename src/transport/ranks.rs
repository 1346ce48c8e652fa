//! Take walkers along a path on several ranks: each moves its blocks, and all know every log-weight.

use super::Transport;
use crate::density::{At, Evaluation, Grid, Path};
use crate::error::{Error, Result, guard};
use crate::io::Checkpoint;
use crate::kernel::{EvalCounts, Kernel};
use crate::numeric::{Rng, World};
use crate::run::memory::Sizes;
use crate::run::{Health, Memory, Outcome, Pace, Parts, Procedure, Recorder, Row, Tally};
use crate::walkers::{Walkers, check_shapes, zero_density};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Range;
use tch::{Device, Kind, Tensor};

/// The ranks over which walkers are spread, and the blocks that they are spread in.
///
/// Block b has its own generator and is moved by itself, on whatever rank it is; what concerns all walkers is computed from gathered
/// numbers in the order of the blocks. Results depend on the number of blocks, and not on that of the ranks.
#[derive(Debug, Clone)]
#[must_use]
pub struct OverRanks {
    /// The ranks.
    pub world: World,
    /// Blocks of walkers: part of the results.
    pub blocks: usize,
}

impl From<&World> for OverRanks {
    /// In 24 blocks: equal shares for 1, 2, 3, 4, 6, 8, 12 and 24 ranks.
    fn from(world: &World) -> Self {
        OverRanks { world: world.clone(), blocks: 24 }
    }
}

impl OverRanks {
    /// In so many blocks, at least one for each rank.
    pub fn blocks(self, blocks: usize) -> Self {
        OverRanks { blocks, ..self }
    }

    /// # Errors
    /// More ranks than blocks, or more blocks than walkers.
    fn check(&self, walkers: usize) -> Result<()> {
        let (blocks, size) = (self.blocks, self.world.size());
        if blocks < size {
            return Err(Error::param("blocks", blocks, format!("at least {size}, the number of ranks")));
        }
        if walkers < blocks {
            return Err(Error::param("walkers", walkers, format!("at least {blocks}, the number of blocks")));
        }
        Ok(())
    }

    /// The walkers of block `b` of `n` walkers.
    fn rows(&self, b: usize, n: usize) -> Range<usize> {
        b * n / self.blocks..(b + 1) * n / self.blocks
    }
}

/// Walkers that one generator moves.
#[derive(Debug)]
struct Block {
    at: Evaluation,
    rng: Rng,
}

/// What one step gives for each walker of a block, and for all of it.
struct Moved {
    alpha: Tensor,
    lambda: Tensor,
    u: Tensor,
    cost: EvalCounts,
    acceptance: Option<f64>,
    fault: Option<String>,
}

/// One transport on this rank: the procedure on a path `P`.
#[derive(Debug)]
pub(super) struct Spread<K> {
    of: Transport<K>,
    over: OverRanks,
    label: &'static str,
    grid: Grid,
    /// For what all ranks draw alike: ancestors.
    rng: Rng,
    /// This rank's blocks.
    own: Vec<Block>,
    /// All walkers without their positions; with them once the run has ended.
    all: Walkers,
}

impl<K> Spread<K> {
    pub fn new(of: Transport<K>, over: OverRanks, label: &'static str) -> Result<Self> {
        let grid = of.grid()?;
        over.check(of.walkers)?;
        if !of.weighted {
            return Err(Error::param(
                "weighted",
                false,
                "a transport with weights: without, ranks have nothing to share",
            ));
        }
        if of.checkpointing.is_some() {
            return Err(Error::param("checkpointing", "on ranks", "none: a run over ranks is not written to a folder"));
        }
        let root = label.bytes().fold(Rng::new(of.seed).split(0x4a2c), |rng, byte| rng.split(u64::from(byte)));
        Ok(Spread { rng: root.split(0), own: Vec::new(), all: Walkers::none(), of, over, label, grid })
    }

    fn own_blocks(&self) -> Range<usize> {
        self.over.world.share(self.over.world.rank(), self.over.blocks)
    }

    /// The walkers that a rank has.
    fn rows_of(&self, rank: usize) -> Range<usize> {
        let (n, blocks) = (self.of.walkers, self.over.world.share(rank, self.over.blocks));
        self.over.rows(blocks.start, n).start..self.over.rows(blocks.end - 1, n).end
    }

    /// The block's start: A_0 and U.
    fn start<P: Path>(&self, path: &P, b: usize) -> Result<(Block, Tensor)>
    where
        K: for<'b> Kernel<At<'b, P>>,
    {
        let (first, _) = At::step(path, 0.0, self.grid.at(1));
        let mut rng = self.rng.split(1 + b as u64);
        let n = self.over.rows(b, self.of.walkers).len();
        let walkers = Walkers::start_from(path.base(), &first, n, false, &mut rng)?;
        self.of.kernel.check(&first, walkers.evaluation())?;
        let a = walkers.log_weights().shallow_clone();
        Ok((Block { at: walkers.into_evaluation(), rng }, a))
    }

    /// One block from t_k to t_{k+1}.
    fn advance<P: Path>(&self, path: &P, k: usize, block: &mut Block) -> Result<Moved>
    where
        K: for<'b> Kernel<At<'b, P>>,
    {
        let (now, next) = At::step(path, self.grid.at(k), self.grid.at(k + 1));
        let n = block.at.len();
        let mut mv = self.of.kernel.forward(&now, &block.at, &mut block.rng);
        let (alpha, fault, mut cost) = (mv.alpha.shallow_clone(), mv.fault.clone(), mv.cost);
        let acceptance = mv.acceptance.take();
        let arrival = self.of.kernel.backward(&next, &block.at, mv, &mut block.rng);
        cost += arrival.cost;
        super::procedure::check_weight("alpha", &alpha, n)?;
        super::procedure::check_weight("lambda", &arrival.lambda, n)?;
        check_shapes(&arrival.evaluation, n)?;
        block.at = arrival.evaluation;
        let acceptance = arrival.acceptance.or(acceptance).map(|a| a.double_value(&[]));
        Ok(Moved { alpha, lambda: arrival.lambda, u: block.at.u.to_kind(Kind::Double), cost, acceptance, fault })
    }

    /// Gathers a tensor `[rows, m]` in f64 of each rank's walkers, on all ranks in the order of the walkers.
    fn gather(&self, own: &Tensor) -> Result<Tensor> {
        let width = own.size()[1];
        let flat = own.to_device(Device::Cpu).to_kind(Kind::Double).contiguous().view(-1);
        let all = self.over.world.gather(&Vec::<f64>::try_from(flat)?)?.concat();
        Ok(Tensor::from_slice(&all).view([-1, width]))
    }

    /// Draws ancestors as all ranks do, and fetches those that are elsewhere.
    fn resample(&mut self) -> Result<()> {
        let packed: Vec<Tensor> = self.own.iter().map(|block| pack(&block.at)).collect();
        let packed = Tensor::cat(&packed, 0);
        let x = Tensor::cat(&self.own.iter().map(|block| &block.at.x).collect::<Vec<_>>(), 0);
        let mut failed = None;
        let mut rng = self.rng.clone();
        let mut all = std::mem::replace(&mut self.all, Walkers::none());
        let parents = {
            let failed = std::cell::RefCell::new(&mut failed);
            // old lineages are measured by positions: all ranks ask for them, or none
            let positions = || match self.gather(&x).and_then(|x| Ok(Vec::<f64>::try_from(x.view(-1))?)) {
                Ok(all) => (all, x.size()[1] as usize),
                Err(e) => {
                    **failed.borrow_mut() = Some(e);
                    (Vec::new(), 0)
                }
            };
            all.resample_by(1, self.of.scheme, &mut rng, positions)
        };
        (self.all, self.rng) = (all, rng);
        if let Some(e) = failed {
            return Err(e);
        }
        let parents: Vec<usize> = parents.into_iter().map(|p| p as usize).collect();
        let (world, me) = (self.over.world.clone(), self.over.world.rank());
        // of each rank, the walkers that others need of it, in ascending order
        let wanted: Vec<Vec<usize>> = (0..world.size())
            .map(|rank| {
                let (theirs, mut wanted) = (self.rows_of(rank), Vec::new());
                for (slot, parent) in parents.iter().enumerate() {
                    if theirs.contains(parent) && !theirs.contains(&slot) && wanted.last() != Some(parent) {
                        wanted.push(*parent);
                    }
                }
                wanted
            })
            .collect();
        let here = self.rows_of(me);
        let rows: Vec<i64> = wanted[me].iter().map(|p| (p - here.start) as i64).collect();
        let sent = packed.index_select(0, &Tensor::from_slice(&rows).to_device(packed.device()));
        let received = self.gather(&sent)?.to_device(packed.device());
        let places: BTreeMap<usize, usize> =
            wanted.concat().into_iter().enumerate().map(|(i, parent)| (parent, i)).collect();
        let table = Tensor::cat(&[&packed, &received], 0);
        let place = |parent: &usize| match here.contains(parent) {
            true => (parent - here.start) as i64,
            false => (here.len() + places.get(parent).copied().unwrap_or(0)) as i64,
        };
        for (b, block) in self.own_blocks().zip(self.own.iter_mut()) {
            let slots = b * self.of.walkers / self.over.blocks..(b + 1) * self.of.walkers / self.over.blocks;
            let rows: Vec<i64> = parents[slots].iter().map(place).collect();
            let rows = table.index_select(0, &Tensor::from_slice(&rows).to_device(table.device()));
            block.at = unpack(&rows, &block.at);
        }
        Ok(())
    }
}

/// Positions, energies, gradients and what is kept, one row of f64 for each walker: every number of f32 is one of f64.
fn pack(at: &Evaluation) -> Tensor {
    let n = at.len() as i64;
    let parts = [Some(&at.x), Some(&at.u), Some(at.grad()), at.kept()];
    let there = parts.into_iter().flatten().filter(|t| t.defined());
    Tensor::cat(&there.map(|t| t.to_kind(Kind::Double).reshape([n, -1])).collect::<Vec<_>>(), 1)
}

/// The evaluation whose rows were packed, in kinds and shapes like those of `like`.
fn unpack(rows: &Tensor, like: &Evaluation) -> Evaluation {
    let mut from = 0;
    let mut next = |like: &Tensor| {
        let (width, mut size) = (like.numel() as i64 / like.size()[0], like.size());
        size[0] = rows.size()[0];
        from += width;
        rows.narrow(1, from - width, width).contiguous().to_kind(like.kind()).view(&size[..])
    };
    let (x, u) = (next(&like.x), next(&like.u));
    let grad = if like.grad().defined() { next(like.grad()) } else { Tensor::new() };
    let kept = like.kept().filter(|t| t.defined()).map(&mut next);
    let at = Evaluation::new(x, u, grad);
    match kept {
        Some(kept) => at.with_input(kept),
        None => at,
    }
}

/// Energies of walkers whose positions are on other ranks.
fn without_positions(u: &Tensor) -> Evaluation {
    let none = || Tensor::zeros([u.size()[0], 0], (Kind::Double, Device::Cpu));
    Evaluation::new(none(), u.shallow_clone(), none())
}

impl<K, P: Path> Procedure<P> for Spread<K>
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
        let progress = if self.over.world.rank() == 0 { of.progress } else { 0.0 };
        Pace { every: of.every, seed: of.seed, threads: of.threads, progress, device: Device::Cpu }
    }

    /// Without the number of ranks, on which nothing depends.
    fn config(&self) -> Value {
        let of = &self.of;
        let kernel = Kernel::<At<P>>::identity(&of.kernel);
        serde_json::json!({
            "kernel": kernel.unwrap_or_else(|_| format!("{:?}", of.kernel).into()),
            "steps": self.grid.steps(),
            "times": of.times,
            "walkers": of.walkers,
            "ess_min": of.ess_min,
            "blocks": self.over.blocks,
        })
    }

    fn weighted(&self) -> bool {
        true
    }

    fn identity(&self, _path: &P) -> Result<Value> {
        Ok(Procedure::<P>::config(self))
    }

    fn begin(&mut self, path: &P, tally: &mut Tally) -> Result<()> {
        path.weighable()?;
        let started = guard(|| {
            // ranks may have different machines: what one refuses, all refuse
            let one = path.base().sample(1, &mut Rng::new(0));
            let own = self.rows_of(self.over.world.rank()).len();
            let sizes = Sizes::of(one.kind(), one.size().get(1).map_or(0, |d| *d as usize), own);
            Memory::of(&Sizes { row: path.row_numbers().unwrap_or(sizes.row), ..sizes }).check(one.device())?;
            self.own_blocks().map(|b| self.start(path, b)).collect::<Result<Vec<_>>>()
        });
        let started = self.over.world.agree(started)?;
        let (blocks, a): (Vec<Block>, Vec<Tensor>) = started.into_iter().unzip();
        let u: Vec<Tensor> = blocks.iter().map(|b| b.at.u.to_kind(Kind::Double)).collect();
        self.own = blocks;
        let both = self.gather(&Tensor::stack(&[Tensor::cat(&a, 0), Tensor::cat(&u, 0)], 1))?;
        self.all = Walkers::new(without_positions(&both.select(1, 1)), path.base().log_z());
        self.all.reweight(&both.select(1, 0));
        tally.cost += EvalCounts::evaluation(self.of.walkers);
        Ok(())
    }

    fn measure(&mut self, _path: &P, _k: usize, _last: bool, _tally: &mut Tally) -> Result<Health> {
        Ok(Health::Fine)
    }

    fn row(&mut self, _path: &P, k: usize, spent: &Tally, row: &mut Row) -> Result<()> {
        super::procedure::record(&mut self.all, true, self.grid.at(k), spent, row);
        Ok(())
    }

    fn step(&mut self, path: &P, k: usize, tally: &mut Tally) -> Result<Health> {
        let mut own = std::mem::take(&mut self.own);
        let moved = guard(|| own.iter_mut().map(|block| self.advance(path, k, block)).collect::<Result<Vec<_>>>());
        self.own = own;
        let moved = self.over.world.agree(moved)?;
        let fault = moved.iter().find_map(|m| m.fault.clone()).unwrap_or_default();
        let fault = self.over.world.gather_text(&fault)?.into_iter().find(|text| !text.is_empty());
        // counts are far below 2⁵³
        let facts: Vec<f64> = moved
            .iter()
            .flat_map(|m| {
                let EvalCounts { forward, backward, drift, jacobian, .. } = m.cost;
                [forward as f64, backward as f64, drift as f64, jacobian as f64, m.acceptance.unwrap_or(f64::NAN)]
            })
            .collect();
        let facts = self.over.world.gather(&facts)?.concat();
        let n = self.of.walkers;
        let mut accepted = 0.0;
        for (b, facts) in facts.chunks(5).enumerate() {
            tally.cost += EvalCounts {
                forward: facts[0] as u64,
                backward: facts[1] as u64,
                drift: facts[2] as u64,
                jacobian: facts[3] as u64,
            };
            accepted += facts[4] * self.over.rows(b, n).len() as f64 / n as f64;
        }
        if !accepted.is_nan() {
            tally.acceptance = Some(Tensor::from(accepted));
        }
        let columns = |of: fn(&Moved) -> &Tensor| Tensor::cat(&moved.iter().map(of).collect::<Vec<_>>(), 0);
        let own = [columns(|m| &m.alpha), columns(|m| &m.lambda), columns(|m| &m.u)];
        let all = self.gather(&Tensor::stack(&own, 1))?;
        let u = all.select(1, 2);
        let (alpha, lambda) = zero_density::increment(&self.all, all.select(1, 0), &all.select(1, 1), &u);
        self.all.commit(without_positions(&u), &alpha, &lambda);
        if let Some(fault) = fault {
            return Ok(Health::Lost(fault));
        }
        let mut lost = zero_density::fault(&self.all);
        if self.of.ess_min > 0.0 && self.all.ess() < self.of.ess_min {
            self.resample()?;
            tally.resampled += 1;
            lost = zero_density::fault(&self.all);
        }
        Ok(lost.map_or(Health::Fine, Health::Lost))
    }

    fn save(&self, _path: &P, _to: &mut Checkpoint) -> Result<()> {
        Err(Error::param("checkpointing", "on ranks", "none"))
    }

    fn load(&mut self, _path: &P, _k: usize, _from: &Checkpoint) -> Result<()> {
        Err(Error::param("checkpointing", "on ranks", "none"))
    }

    fn walkers(&self) -> &Walkers {
        &self.all
    }

    fn time(&self, k: usize) -> f64 {
        self.grid.at(k)
    }

    fn details(&self, k: usize, _rows: &Recorder) -> String {
        format!("t {:.3}  ESS {:.3}", self.grid.at(k), self.all.ess())
    }

    /// All positions, on all ranks.
    fn finish(mut self: Box<Self>, _path: &P, outcome: &Outcome) -> Result<Parts> {
        // a rank may be gone where the run did not finish
        if let (Outcome::Finished, Some(first)) = (outcome, self.own.first()) {
            let packed = Tensor::cat(&self.own.iter().map(|block| pack(&block.at)).collect::<Vec<_>>(), 0);
            let all = self.gather(&packed)?.to_device(first.at.x.device());
            let point = unpack(&all, &first.at);
            self.all.relocate(point);
        }
        Ok(Parts { walkers: self.all, monitor: None })
    }
}
